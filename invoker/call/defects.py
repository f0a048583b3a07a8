"""What the gateway itself does wrong, in the log."""

from shared import logs
from shared.clock import Clock

INTERVAL_US = 10_000_000

log = logs.get("defects")


class Defects:
    """Each is told with its traceback, unless another was a moment ago: it may meet every request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._from_us = 0
        self._unlogged = 0

    def tell(self, error: Exception, **where: str) -> None:
        now_us = self._clock.monotonic_us()
        if now_us < self._from_us:
            self._unlogged += 1
            return
        unlogged, self._unlogged = self._unlogged, 0
        self._from_us = now_us + INTERVAL_US
        log.error("gateway.failed", **where, unlogged_before=unlogged, exc_info=error)
