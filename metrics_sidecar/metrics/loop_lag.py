"""How long others wait for their turn on the event loop: measured all the time, by a timer and how late it is.

What holds the loop shows up to one interval shorter than it was. So the timer is slow while nothing happens, which
costs nearly nothing, and fast for a while once it was late.
"""

import asyncio
from collections.abc import Callable

from shared.clock import Clock

SLOW_S, FAST_S = 0.02, 0.002
LATE_US = 3000
"""More than the loop's own resolution of a millisecond and the time that waking up takes."""
FAST_TICKS = 25


class LoopLag:
    """Tells `observe` the seconds by which each tick was late."""

    def __init__(self, clock: Clock, observe: Callable[[float], None]) -> None:
        self._clock = clock
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._fast_ticks = 0
        self._due_us = 0
        self._timer = self._wait()

    def stop(self) -> None:
        self._timer.cancel()

    def _wait(self) -> asyncio.TimerHandle:
        interval_s = FAST_S if self._fast_ticks else SLOW_S
        self._due_us = self._clock.monotonic_us() + round(interval_s * 1_000_000)
        return self._loop.call_later(interval_s, self._tick)

    def _tick(self) -> None:
        late_us = max(self._clock.monotonic_us() - self._due_us, 0)
        self._fast_ticks = FAST_TICKS if late_us > LATE_US else max(self._fast_ticks - 1, 0)
        self._timer = self._wait()
        self._observe(late_us / 1_000_000)  # last: should it fail, the loop tells of it, and the timer goes on
