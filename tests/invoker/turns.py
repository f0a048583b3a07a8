"""How long an event loop is held up, in CPU time of its thread: how busy the machine is makes little difference."""

import asyncio
import gc
import time
from collections.abc import Awaitable

HELD_UP_S = 0.15
"""What is read piece by piece takes turns of some 10 ms, or 30 where cores are shared; whole, seconds."""


async def longest_turn_s(work: Awaitable[object]) -> float:
    """The longest turn until it is done. (Whatever else this process holds is not collected meanwhile.)"""
    loop = asyncio.get_running_loop()
    last_s, longest_s, done = time.thread_time(), 0.0, False

    def turn() -> None:
        nonlocal last_s, longest_s
        now_s = time.thread_time()
        longest_s = max(longest_s, now_s - last_s)
        last_s = now_s
        if not done:
            loop.call_soon(turn)

    gc.disable()
    try:
        turn()
        await work
    finally:
        gc.enable()
    done = True
    await asyncio.sleep(0)
    return longest_s
