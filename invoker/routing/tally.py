"""What is counted of an endpoint, or of anything else that takes its time."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from shared.wire import SUM_US, UPSTREAM_BOUNDS_S


class Spread:
    """Durations: counts per bucket, not cumulated, and their sum in µs."""

    __slots__ = ("_bounds_us", "_counts", "_labels", "sum_us")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_us, self._labels = _scale(tuple(bounds_s))
        self._counts = [0] * (len(bounds_s) + 1)
        self.sum_us = 0

    def observe(self, time_us: int) -> None:
        self._counts[bisect_left(self._bounds_us, time_us)] += 1
        self.sum_us += time_us

    def report(self) -> dict[str, int]:
        """Upper bound → count, and the sum, for the sidecar."""
        return {**dict(zip(self._labels, self._counts, strict=True)), SUM_US: self.sum_us}


@cache
def _scale(bounds_s: tuple[float, ...]) -> tuple[Sequence[int], Sequence[str]]:
    """Bounds in µs, and as they are said, once for all endpoints."""
    return [round(bound * 1_000_000) for bound in bounds_s], (*map(str, bounds_s), "+Inf")


def _heads() -> Spread:
    return Spread(UPSTREAM_BOUNDS_S)


@dataclass(slots=True)
class Tally:
    """`attempts`: by how they ended; `heads`: how long each took to the head of its answer, of those that got one;
    `ejections`: how often it was left out, or for longer."""

    attempts: Counter[str] = field(default_factory=Counter)
    heads: Spread = field(default_factory=_heads)
    ejections: int = 0
