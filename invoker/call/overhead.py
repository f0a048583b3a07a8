"""The latency that the gateway itself adds to calls, as a histogram that its reports carry."""

from bisect import bisect_left

from shared.wire import OVERHEAD_BOUNDS_S, SUM_US

_BOUNDS_US = tuple(round(bound * 1_000_000) for bound in OVERHEAD_BOUNDS_S)
_LABELS = (*(str(bound) for bound in OVERHEAD_BOUNDS_S), "+Inf")


class Overhead:
    """Counts per bucket, not cumulated, and their sum in µs, since this worker's life began."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_US) + 1)
        self._sum_us = 0

    def observe(self, overhead_us: int) -> None:
        self._counts[bisect_left(_BOUNDS_US, overhead_us)] += 1
        self._sum_us += overhead_us

    def report(self) -> dict[str, int]:
        """Upper bound → count, and the sum, for the sidecar."""
        return {**dict(zip(_LABELS, self._counts, strict=True)), SUM_US: self._sum_us}
