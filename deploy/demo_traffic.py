"""The callers of `make demo`: calls of a few models, until told to stop."""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import Sequence

import uvloop

from deploy.load_generator import Generator, Plan, open_session
from deploy.run import Service, is_ready, services

MODELS = {"gpt-3.5": 6, "bert-base": 3, "llama-3": 2, "whisper": 1}
"""By weight. How they behave is the mock server's part: see `deploy.demo`."""

RATE = 20.0
PLAN_S = 600.0
"""One plan after the other, each of this length: a plan remembers the latency of every call."""

POLL_INTERVAL_S = 0.2


async def call() -> None:
    """Wait until everything is ready, the models' server as well, then call until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stack = services()
    url = stack[-1].url
    for seed in itertools.count(1):
        plan = Plan(url, RATE, PLAN_S, MODELS, seed=seed)
        async with open_session(plan) as session:
            while not stop.is_set() and not await asyncio.to_thread(are_ready, stack):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), POLL_INTERVAL_S)
            await follow(Generator(plan, session), stop)
        if stop.is_set():
            return


def are_ready(stack: Sequence[Service]) -> bool:
    return all(map(is_ready, stack))


async def follow(generator: Generator, stop: asyncio.Event) -> None:
    """Run the plan to its end, or until `stop`; then what is in flight is given up."""
    running = asyncio.create_task(generator.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        generator.stop()
        generator.stop()
    stopping.cancel()
    await running


if __name__ == "__main__":
    uvloop.run(call())
