"""What holds the event loop is seen."""

import asyncio
import time

from metrics_sidecar.metrics.loop_lag import FAST_S, SLOW_S, LoopLag
from shared.clock import SystemClock


async def test_a_blocked_loop_is_seen_about_as_long_as_it_was() -> None:
    """It shows at most one interval shorter; ticks go on, and end with `stop`."""
    seen: list[float] = []
    lag = LoopLag(SystemClock(), seen.append)
    time.sleep(0.2)  # noqa: ASYNC251 - this is what is to be seen
    while len(seen) < 3:
        await asyncio.sleep(0.001)
    assert max(seen) >= 0.2 - SLOW_S
    lag.stop()
    count = len(seen)
    await asyncio.sleep(2 * SLOW_S)
    assert len(seen) == count


class Clock(SystemClock):
    """Stands still, or is set forward."""

    now = 0

    def monotonic_us(self) -> int:
        return self.now


async def test_it_looks_closer_once_it_was_late() -> None:
    """After a tick that was late, the next ones follow fast."""
    loop = asyncio.get_running_loop()
    lag = LoopLag(Clock(), lambda _: None)
    waits = []
    for late_us in (0, 1_000_000):
        Clock.now += late_us
        lag._tick()
        waits.append(lag._timer.when() - loop.time())
    lag.stop()
    assert waits[0] > FAST_S >= waits[1]
