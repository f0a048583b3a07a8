"""Cumulative totals per model: what statistics and counters show, kept apart from the raw rows."""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from shared.record import MAX_COUNT, ErrorType, Record

BUCKET_BOUNDS_S = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
)
"""Upper bounds of the latency histogram; one more bucket has none. Stored counts depend on them."""

BUCKET_BOUNDS_US = tuple(round(bound * 1_000_000) for bound in BUCKET_BOUNDS_S)


class ModelTotals(msgspec.Struct):
    """Sums over invocations: of one model since the beginning, or of one batch. `buckets` are counts
    per bucket, not cumulated; minimum, maximum and last timestamp mean nothing while the count is 0.
    A sum of latencies beyond 2⁶³ − 1 µs, which only a forged record can reach, stays there."""

    success_count: int = 0
    failure_count: int = 0
    latency_us: int = 0
    min_latency_us: int = 0
    max_latency_us: int = 0
    last_timestamp_us: int = 0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKET_BOUNDS_US) + 1))
    errors: dict[ErrorType, int] = msgspec.field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.success_count + self.failure_count

    def add(self, record: Record) -> None:
        """Count one more invocation."""
        latency_us = record.latency_us
        if self.success_count + self.failure_count == 0:
            self.min_latency_us = self.max_latency_us = latency_us
        elif latency_us < self.min_latency_us:
            self.min_latency_us = latency_us
        elif latency_us > self.max_latency_us:
            self.max_latency_us = latency_us
        error_type = record.error_type
        if error_type is None:
            self.success_count += 1
        else:
            self.failure_count += 1
            self.errors[error_type] = self.errors.get(error_type, 0) + 1
        self.latency_us += latency_us
        if record.timestamp_us > self.last_timestamp_us:
            self.last_timestamp_us = record.timestamp_us
        self.buckets[bisect_left(BUCKET_BOUNDS_US, latency_us)] += 1

    def merge(self, other: "ModelTotals") -> None:
        """Count all that `other` has counted."""
        if other.count == 0:
            return
        if self.count == 0:
            self.min_latency_us = other.min_latency_us
        self.min_latency_us = min(self.min_latency_us, other.min_latency_us)
        self.max_latency_us = max(self.max_latency_us, other.max_latency_us)
        self.last_timestamp_us = max(self.last_timestamp_us, other.last_timestamp_us)
        self.success_count += other.success_count
        self.failure_count += other.failure_count
        self.latency_us = min(self.latency_us + other.latency_us, MAX_COUNT)
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]
        for error_type, count in other.errors.items():
            self.errors[error_type] = self.errors.get(error_type, 0) + count


def aggregate(records: Iterable[Record]) -> dict[str, ModelTotals]:
    """Totals of these records by true model id."""
    totals: dict[str, ModelTotals] = {}
    for record in records:
        model_totals = totals.get(record.model_id)
        if model_totals is None:
            model_totals = totals[record.model_id] = ModelTotals()
        model_totals.add(record)
    for model_totals in totals.values():
        model_totals.latency_us = min(model_totals.latency_us, MAX_COUNT)
    return totals


def merge_into(target: dict[str, ModelTotals], more: dict[str, ModelTotals]) -> None:
    """Add totals to totals, key by key."""
    for key, totals in more.items():
        mine = target.get(key)
        if mine is None:
            mine = target[key] = ModelTotals()
        mine.merge(totals)
