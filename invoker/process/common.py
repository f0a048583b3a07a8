"""What parent and workers have in common: made before the workers are forked."""

import asyncio
import mmap
import os
from collections.abc import Callable

import msgspec

from invoker.process.heartbeats import BEAT_S, Heartbeats
from invoker.process.shared_value import SharedValue
from invoker.routing.places import Tallies
from invoker.routing.states import EndpointState

ASKED_FOR_S = BEAT_S + 0.1
"""Each worker that lives has looked by then."""
MAX_STATES_BYTES = 4 * 1024 * 1024
"""Of some ten thousand endpoints. A part of it that nobody has written takes no memory."""

_states = msgspec.msgpack.Decoder(list[EndpointState])


class Common:
    """Signs of life, calls counted for limits, the models as the parent has checked them (see `snapshot`), and what
    each worker knows of their endpoints."""

    def __init__(self, workers: int) -> None:
        self.heartbeats = Heartbeats(workers)
        self.tallies = Tallies(workers)
        self._asked = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self._told = 0
        file = os.memfd_create("workers")  # one, as files may be few
        self._states = [SharedValue(file, number * MAX_STATES_BYTES, MAX_STATES_BYTES) for number in range(workers)]
        self.models = SharedValue(file, workers * MAX_STATES_BYTES)

    def reset(self, number: int) -> None:
        """For a worker that takes another's place."""
        self.heartbeats.reset(number)
        self._states[number].clear()

    def tell_if_asked(self, number: int, states: Callable[[], list[EndpointState]]) -> None:
        """What this worker knows, if anyone has asked since it told it: it may be of thousands of endpoints."""
        if (asked := self._asked[0]) != self._told:
            self._told = asked
            self._states[number].write(msgspec.msgpack.encode(states()))

    async def ask(self, number: int) -> list[list[EndpointState]]:
        """What the others know, of those that give a sign of life meanwhile, or have told it before."""
        if len(self._states) == 1:
            return []
        self._asked[0] += 1
        await asyncio.sleep(ASKED_FOR_S)
        found = (value.read() for at, value in enumerate(self._states) if at != number)
        return [_states.decode(told[1]) for told in found if told is not None]
