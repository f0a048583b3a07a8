"""How long a stream may have nothing to say."""

import asyncio

import pytest

from invoker.call.ending import EndedError, Ending
from invoker.call.flights import Flight, Flights
from invoker.call.stream_timer import StreamTimer
from invoker.protocols.events import EventReader
from invoker.protocols.usage import openai_usage
from invoker.routing.endpoints import single
from invoker.routing.models import Model

SHORT_S = 0.02
TEXT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
ROLE = b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n'


class Flown:
    """A stream in its flight, and its timer."""

    def __init__(self, first_token_s: float | None = None, idle_s: float | None = None, streamed: bool = True) -> None:
        self.flights = Flights()
        self.reader = EventReader(openai_usage)
        model = Model(single("http://u"), 60.0, first_token_s=first_token_s, idle_s=idle_s)
        self.timer = StreamTimer(self.flights, model, streamed=streamed)

    async def hang(self) -> None:
        with Flight(self.flights, "m", 60.0):
            try:
                await asyncio.Event().wait()
            finally:
                self.timer.close()

    async def wait(self) -> Ending:
        """For what never comes, until it is ended."""
        with pytest.raises(EndedError) as caught:
            await self.hang()
        return caught.value.ending


async def test_a_head_that_is_waited_for() -> None:
    """Of a stream, it comes with the first output as often as not."""
    assert await Flown(first_token_s=SHORT_S).wait() is Ending.FIRST_TOKEN


async def test_an_output_that_is_waited_for() -> None:
    """However much comes that is none."""
    flown = Flown(first_token_s=SHORT_S, idle_s=60.0, streamed=False)
    flown.timer.follow(flown.reader)
    flown.reader.feed(ROLE, 1)
    flown.timer.more()
    assert await flown.wait() is Ending.FIRST_TOKEN


async def test_more_that_is_waited_for() -> None:
    """Once there is output, only this is."""
    flown = Flown(first_token_s=SHORT_S / 2, idle_s=SHORT_S)
    flown.reader.feed(TEXT, 1)
    flown.timer.follow(flown.reader)
    assert await flown.wait() is Ending.IDLE


async def test_a_caller_that_is_waited_for() -> None:
    """Is not the upstream's fault; what comes behind it is waited for anew."""
    flown = Flown(first_token_s=SHORT_S, idle_s=SHORT_S)
    flown.timer.follow(flown.reader)
    flown.timer.rest()
    with Flight(flown.flights, "m", 60.0):
        await asyncio.sleep(5 * SHORT_S)
    flown.reader.feed(TEXT, 1)
    flown.timer.more()
    assert await flown.wait() is Ending.IDLE


async def test_each_piece_begins_a_wait_of_its_own() -> None:
    """With the one timer, which is set anew for what is left of the last one."""
    flown = Flown(idle_s=60.0)
    timer = flown.timer
    timer.follow(flown.reader)
    assert timer._since is not None
    timer._since -= 50.0
    timer._check()
    assert timer._handle is not None
    soon, first = timer._handle.when(), timer._handle
    timer.more()
    assert timer._handle is first
    timer._check()
    assert timer._handle.when() > soon + 40.0
    first.cancel()
    timer.close()


def handle_of(flown: Flown) -> asyncio.TimerHandle | None:
    return flown.timer._handle


@pytest.mark.parametrize("streamed", [True, False])
async def test_without_a_bound_nothing_is_set(streamed: bool) -> None:
    """And nothing is once it has closed, or when there is output."""
    flown = Flown(idle_s=60.0, streamed=streamed)
    assert handle_of(flown) is None
    flown.timer.follow(flown.reader)
    assert handle_of(flown) is not None
    flown.timer.close()
    assert handle_of(flown) is None
    unbound = Flown(first_token_s=60.0, streamed=streamed)
    assert (handle_of(unbound) is not None) == streamed
    unbound.reader.feed(TEXT, 1)
    unbound.timer.follow(unbound.reader)
    unbound.timer.close()
    unbound.timer._check()
    assert handle_of(unbound) is None
