"""Deadlines of many tasks: each has its own end, and knows what ended it."""

import asyncio

import pytest

from invoker.call.deadlines import Deadlines


async def waiting(deadlines: Deadlines, timeout_s: float, told: list[str], name: str = "") -> None:
    """Wait forever, and tell what ended it."""
    task = asyncio.current_task()
    assert task is not None
    deadlines.add(task, timeout_s)
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        told.append(name + ("expired" if deadlines.expired(task) else "cancelled"))
        told.extend(["again"] * deadlines.expired(task))
    finally:
        deadlines.remove(task, timeout_s)


async def test_a_task_whose_time_is_over() -> None:
    """It is cancelled, is told once that it was this, and may go on; nothing is left."""
    deadlines = Deadlines(asyncio.get_running_loop())
    told: list[str] = []
    task = asyncio.create_task(waiting(deadlines, 0.01, told))
    await asyncio.wait_for(task, 10)
    assert (told, task.cancelling(), deadlines.tasks()) == (["expired"], 0, frozenset())


async def test_a_task_that_another_cancels() -> None:
    """It is not told that its time was over."""
    deadlines = Deadlines(asyncio.get_running_loop())
    told: list[str] = []
    task = asyncio.create_task(waiting(deadlines, 60.0, told))
    await asyncio.sleep(0)
    assert deadlines.tasks() == {task}
    task.cancel()
    await asyncio.wait([task])
    assert (told, deadlines.tasks()) == (["cancelled"], frozenset())


async def test_the_order_of_ends() -> None:
    """A short time ends before a long one that began earlier, and tasks of one time in the order they began."""
    deadlines = Deadlines(asyncio.get_running_loop())
    told: list[str] = []
    times = {"a": 0.08, "b": 0.08, "c": 0.02, "d": 0.02}
    await asyncio.wait([asyncio.create_task(waiting(deadlines, time, told, name)) for name, time in times.items()])
    assert told == ["cexpired", "dexpired", "aexpired", "bexpired"]


async def test_no_task_ends_early() -> None:
    """The timer of one that is long done ends none that began after it; each begins its time anew."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
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
    assert deadlines.expired(task)
    deadlines.remove(task, 0.5)
    assert round(loop.time() - begun_s, 3) >= 0.5  # and however busy the machine, not before


async def test_a_timer_is_armed_again() -> None:
    """Once all of one time are gone and the timer with them, the next task still has its end."""
    deadlines = Deadlines(asyncio.get_running_loop())
    told: list[str] = []
    for _ in range(3):
        await asyncio.wait_for(waiting(deadlines, 0.005, told), 10)
        await asyncio.sleep(0.01)
    assert told == ["expired"] * 3


async def test_both_at_once() -> None:
    """Time is over and another cancels, in one moment: it counts as time, and the other's wish is not forgotten."""
    deadlines = Deadlines(asyncio.get_running_loop())
    told: list[str] = []
    task = asyncio.create_task(waiting(deadlines, 0.01, told, "both "))
    while not task.cancelling():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (told, task.cancelling()) == (["both expired"], 1)
