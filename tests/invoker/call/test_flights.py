"""Calls in flight: counted while they are, ended in time or together, and told why."""

import asyncio
from collections.abc import Callable

import pytest

from invoker.call.ending import EndedError, Ending
from invoker.call.flights import Flight, Flights, FurtherFlight


async def flying(flights: Flights, timeout_s: float = 60.0) -> None:
    with Flight(flights, "m", timeout_s):
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("timeout_s", "end", "ending"),
    [
        (0.01, lambda _flights: None, Ending.DEADLINE),
        (60.0, lambda flights: flights.end_all(Ending.DRAIN), Ending.DRAIN),
    ],
)
async def test_one_that_we_end(timeout_s: float, end: Callable[[Flights], None], ending: Ending) -> None:
    """It knows why, is not cancelled any more, and is counted no longer."""
    flights = Flights()
    task = asyncio.create_task(flying(flights, timeout_s))
    await asyncio.sleep(0)
    assert flights.counts.all() == {"m": 1}
    end(flights)
    with pytest.raises(EndedError) as ended:
        await asyncio.wait_for(task, 10)
    assert (ended.value.ending, task.cancelling()) == (ending, 0)
    assert (flights.counts.total, flights.deadlines.tasks()) == (0, frozenset())


async def test_one_whose_caller_leaves() -> None:
    """It stays cancelled, and is counted no longer."""
    flights = Flights()
    task = asyncio.create_task(flying(flights))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (flights.counts.total, flights.deadlines.tasks()) == (0, frozenset())


async def test_one_that_fails() -> None:
    """What it raises is its own."""
    flights = Flights()
    with pytest.raises(ValueError, match="mine"), Flight(flights, "m", 60.0):
        raise ValueError("mine")
    assert flights.counts.total == 0


async def test_what_is_left_of_its_time() -> None:
    """For further attempts."""
    with Flight(Flights(), "m", 60.0) as flight:
        assert 50.0 < flight.remaining_s < 60.001


async def test_who_waits_until_there_is_none() -> None:
    """Goes on when the last has landed, at once if there is none, and not after so long."""
    flights = Flights()
    await flights.wait_idle(60.0)
    tasks = [asyncio.create_task(flying(flights)) for _ in range(2)]
    await asyncio.sleep(0)
    await flights.wait_idle(0.01)
    assert flights.counts.total == 2
    waiting = asyncio.create_task(flights.wait_idle(60.0))
    for task in tasks:
        assert not waiting.done()
        task.cancel()
        await asyncio.wait([task])
    await asyncio.wait_for(waiting, 10)


async def test_one_that_goes_on_at_another_model() -> None:
    """It is in flight as that one, until the end that was set at first, and ended with all others."""
    flights = Flights()

    async def fly(seconds: float) -> None:
        due = flights.loop.time() + seconds
        with Flight(flights, "m", 60.0):
            pass
        with FurtherFlight(flights, "n", 60.0, due) as flight:
            assert seconds - 1 < flight.remaining_s < seconds + 0.001  # as sums of floats are
            await asyncio.get_running_loop().create_future()

    for seconds, ending in ((0.01, Ending.DEADLINE), (60.0, Ending.DRAIN)):
        task = asyncio.create_task(fly(seconds))
        await asyncio.sleep(0)
        assert flights.counts.all() == {"n": 1}
        if ending is Ending.DRAIN:
            flights.end_all(ending)
        with pytest.raises(EndedError) as ended:
            await asyncio.wait_for(task, 10)
        assert (ended.value.ending, task.cancelling()) == (ending, 0)
        assert (flights.counts.total, flights.deadlines.tasks()) == (0, frozenset())
