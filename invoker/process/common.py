"""What parent and workers have in common: made before the workers are forked."""

import os
from collections.abc import Iterator

import msgspec

from invoker.process.heartbeats import Heartbeats
from invoker.process.shared_value import SharedValue
from invoker.routing.states import EndpointState

MAX_STATES_BYTES = 4 * 1024 * 1024
"""Of some ten thousand endpoints. A part of it that nobody has written takes no memory."""

_states = msgspec.msgpack.Decoder(list[EndpointState])


class Common:
    """Signs of life, the models as the parent has checked them (see `snapshot`), and what each worker knows of their
    endpoints."""

    def __init__(self, workers: int) -> None:
        self.heartbeats = Heartbeats(workers)
        file = os.memfd_create("workers")  # one, as files may be few
        self._states = [SharedValue(file, number * MAX_STATES_BYTES, MAX_STATES_BYTES) for number in range(workers)]
        self.models = SharedValue(file, workers * MAX_STATES_BYTES)

    def reset(self, number: int) -> None:
        """For a worker that takes another's place."""
        self.heartbeats.reset(number)
        self._states[number].clear()

    def tell(self, number: int, states: list[EndpointState]) -> None:
        """What this worker knows."""
        self._states[number].write(msgspec.msgpack.encode(states))

    def told(self, but: int) -> Iterator[list[EndpointState]]:
        """What the others know."""
        for number, value in enumerate(self._states):
            if number != but and (found := value.read()) is not None:
                yield _states.decode(found[1])
