"""A wait for more of a stream: how long it may take."""

import asyncio

import pytest

from invoker.call.streaming import Hurry
from invoker.upstream.port import UpstreamError
from shared.record import ErrorType

IDLE_S = 0.02


async def test_what_stands_still_is_ended() -> None:
    """As its upstream's fault."""
    with pytest.raises(UpstreamError, match=r"stood still for 0\.02 s") as caught:
        async with Hurry(IDLE_S).hurrying():
            await asyncio.Event().wait()
    assert caught.value.error_type is ErrorType.TIMEOUT


async def test_what_waits_for_others_is_not() -> None:
    """Such as a slow caller, until more is waited for again."""
    hurry = Hurry(IDLE_S)
    rested = []

    async def rest() -> None:
        async with hurry.hurrying():
            hurry.rest()
            await asyncio.sleep(5 * IDLE_S)
            hurry.more()
            rested.append(True)
            await asyncio.Event().wait()

    with pytest.raises(UpstreamError):
        await rest()
    assert rested == [True]


async def test_each_piece_begins_a_wait_of_its_own() -> None:
    """The timer is set anew for what is left of the last one, however often more has come."""
    hurry = Hurry(60.0)
    limit = asyncio.timeout(None)
    hurry._since_s -= 50.0
    hurry._look(limit, 60.0)
    assert hurry._timer is not None
    soon, timer = hurry._timer.when(), hurry._timer
    hurry.more()
    hurry._look(limit, 60.0)
    assert hurry._timer.when() > soon + 40.0
    timer.cancel()
    hurry._timer.cancel()


async def test_without_a_bound_nothing_is_watched() -> None:
    """No timer either."""
    hurry = Hurry(None)
    async with hurry.hurrying():
        assert hurry._timer is None


async def test_a_timeout_of_others_is_theirs() -> None:
    """It is not taken for that of the stream."""
    with pytest.raises(TimeoutError):
        async with Hurry(60.0).hurrying():
            raise TimeoutError
