"""When the store is tended to: between commits, and so that neither they nor readers wait long for it."""

import time

from metrics_sidecar.history.writer import Writer
from metrics_sidecar.ledger.reckoning import Reckoning
from shared import logs

TEND_EVERY_S = 1.0
TEND_PAUSE = 4
"""As long as a slice took, times this: a fifth of the time at the most is spent on tending."""

log = logs.get("ledger")


class Tending:
    """The ledger's thread's, but for `failure`: why it can't be done, None if it can."""

    def __init__(self, store: Writer, reckoning: Reckoning) -> None:
        self.failure: str | None = None
        self._store = store
        self._reckoning = reckoning
        self._again_at = 0.0

    def tend(self, busy_s: float) -> float:
        """Seconds until there is more to do. One slice, and a pause after it, so that who reads beside it on the same
        core waits little; or slices for so many seconds, if records come in as fast as they can. A failure holds up
        no commit, and is tried again later."""
        started = time.perf_counter()
        busy = busy_s > 0
        if started < self._again_at and (self.failure or not busy):
            return self._again_at - started
        try:
            more = self._once(busy=busy)
            while more and time.perf_counter() < started + busy_s:
                more = self._once(busy=busy)
        except Exception as error:  # noqa: BLE001 - a defect must not end the thread unseen, either
            self._again_at = time.perf_counter() + TEND_EVERY_S
            reason = f"{type(error).__name__}: {error}"
            if self.failure is None:
                log.warning("ledger.tending_failed", reason=reason)
            self.failure = reason
            return TEND_EVERY_S
        self.failure = None
        if not more:
            return TEND_EVERY_S
        now = time.perf_counter()
        self._again_at = now + TEND_PAUSE * (now - started)
        return self._again_at - now

    def _once(self, *, busy: bool) -> bool:
        self._reckoning.look()
        return self._store.tend(self._reckoning.reckoned_us, busy=busy, aged_us=self._reckoning.aged_us)
