"""Deadlines of many tasks: each has its own end, and knows what ended it."""

import asyncio

import pytest

from invoker.call.deadlines import Deadlines
from invoker.call.ending import Ending, Endings


class Waiting:
    """Tasks that wait for ever, each of which tells what ended it."""

    def __init__(self) -> None:
        self.endings = Endings()
        self.deadlines = Deadlines(asyncio.get_running_loop(), self.endings)
        self.told: list[tuple[str, Ending]] = []

    async def wait(self, timeout_s: float, name: str = "") -> None:
        task = asyncio.current_task()
        assert task is not None
        self.deadlines.add(task, timeout_s)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.told.append((name, self.endings.take(task)))
        finally:
            self.deadlines.remove(task, timeout_s)


async def test_a_task_whose_time_is_over() -> None:
    """It is cancelled, is told that it was this, and may go on; nothing is left."""
    waiting = Waiting()
    task = asyncio.create_task(waiting.wait(0.01))
    await asyncio.wait_for(task, 10)
    assert (waiting.told, task.cancelling()) == ([("", Ending.DEADLINE)], 0)
    assert waiting.deadlines.tasks() == frozenset()
    assert waiting.endings.take(task) is Ending.CALLER_GONE  # it was told once


async def test_a_task_that_its_server_cancels() -> None:
    """It is not told that its time was over, and is still cancelled."""
    waiting = Waiting()
    task = asyncio.create_task(waiting.wait(60.0))
    await asyncio.sleep(0)
    assert waiting.deadlines.tasks() == {task}
    task.cancel()
    await asyncio.wait([task])
    assert (waiting.told, task.cancelling()) == ([("", Ending.CALLER_GONE)], 1)
    assert waiting.deadlines.tasks() == frozenset()


async def test_the_first_reason_counts() -> None:
    """A task that is ended twice in one moment is cancelled once, and knows why first."""
    waiting = Waiting()
    task = asyncio.create_task(waiting.wait(60.0))
    await asyncio.sleep(0)
    waiting.endings.end(task, Ending.DRAIN)
    waiting.endings.end(task, Ending.DEADLINE)
    assert task.cancelling() == 1
    await asyncio.wait([task])
    assert (waiting.told, task.cancelling()) == ([("", Ending.DRAIN)], 0)


async def test_the_order_of_ends() -> None:
    """A short time ends before a long one that began earlier, and tasks of one time in the order they began."""
    waiting = Waiting()
    times = {"a": 0.08, "b": 0.08, "c": 0.02, "d": 0.02}
    await asyncio.wait([asyncio.create_task(waiting.wait(time, name)) for name, time in times.items()])
    assert waiting.told == [(name, Ending.DEADLINE) for name in "cdab"]


async def test_no_task_ends_early() -> None:
    """The timer of one that is long done ends none that began after it; each begins its time anew."""
    loop = asyncio.get_running_loop()
    waiting = Waiting()
    deadlines = waiting.deadlines
    task = asyncio.current_task()
    assert task is not None
    for _ in range(5):  # the timer is armed by the first of them
        deadlines.add(task, 0.5)
        await asyncio.sleep(0.2)
        deadlines.remove(task, 0.5)
    deadlines.add(task, 0.5)
    begun_s = loop.time()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(10)
    assert waiting.endings.take(task) is Ending.DEADLINE
    deadlines.remove(task, 0.5)
    assert round(loop.time() - begun_s, 3) >= 0.5  # and however busy the machine, not before


async def test_a_timer_is_armed_again() -> None:
    """Once all of one time are gone and the timer with them, the next task still has its end."""
    waiting = Waiting()
    for _ in range(3):
        await asyncio.wait_for(waiting.wait(0.005), 10)
        await asyncio.sleep(0.01)
    assert waiting.told == [("", Ending.DEADLINE)] * 3


async def test_both_at_once() -> None:
    """Time is over and its server cancels, in one moment: it counts as time, and the other's wish is not forgotten."""
    waiting = Waiting()
    task = asyncio.create_task(waiting.wait(0.01))
    while not task.cancelling():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (waiting.told, task.cancelling()) == ([("", Ending.DEADLINE)], 1)
