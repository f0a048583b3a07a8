"""Signs of life of the workers, in memory that they share with their parent."""

import asyncio
import mmap
from collections.abc import Callable

BEAT_S = 0.5


class Heartbeats:
    """One number per worker, which its event loop moves on. Made before the workers are forked."""

    def __init__(self, workers: int) -> None:
        self._beats = memoryview(mmap.mmap(-1, workers * 8)).cast("Q")

    def of(self, number: int) -> int:
        """How often this worker's loop has been alive; 0 until it serves."""
        return self._beats[number]

    def reset(self, number: int) -> None:
        """For a worker that takes another's place."""
        self._beats[number] = 0

    def beat(self, number: int, loop: asyncio.AbstractEventLoop, each_time: Callable[[], None]) -> None:
        """From now on, as long as the loop runs."""
        self._beats[number] += 1
        loop.call_later(BEAT_S, self.beat, number, loop, each_time)
        each_time()
