"""Cumulative totals per model: what statistics and counters show, kept apart from the raw rows."""

from bisect import bisect_left
from collections.abc import Iterable
from operator import add, sub

import msgspec

from metrics_sidecar.ledger.usage import USAGE_PLACES, add_usage, bounded, count_usage, subtract_usage
from shared.record import MAX_COUNT, METERED, Record

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
    3.0,
    4.0,
    5.0,
    7.5,
    10.0,
    15.0,
    20.0,
    30.0,
    45.0,
    60.0,
    120.0,
    300.0,
)
"""Upper bounds of the latency histogram; one more bucket has none. Stored counts depend on them: none ever goes, and
one that comes later begins at the count of the bound below it (see `store.migrations`)."""

BUCKET_BOUNDS_US = tuple(round(bound * 1_000_000) for bound in BUCKET_BOUNDS_S)


class ModelTotals(msgspec.Struct, gc=False):
    """Sums over invocations: of one model since the beginning, or of one batch. `buckets` are counts
    per bucket, not cumulated; minimum, maximum and last timestamp mean nothing while the count is 0.
    `usage`: as `USAGE_NAMES`, or nothing.
    A sum of latencies beyond 2⁶³ − 1 µs, which only a forged record can reach, stays there.
    Not changed once they are made: whoever holds some may take them for what they were. (Nor do they hold
    anything that could refer to them, so they are none of the garbage collector's business.)"""

    success_count: int = 0
    failure_count: int = 0
    latency_us: int = 0
    min_latency_us: int = 0
    max_latency_us: int = 0
    last_timestamp_us: int = 0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKET_BOUNDS_US) + 1))
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    usage: list[int] = msgspec.field(default_factory=list)

    @property
    def count(self) -> int:
        return self.success_count + self.failure_count

    def number(self, name: str) -> int:
        """One of these, or of `USAGE_NAMES`."""
        if name in USAGE_PLACES:
            return self.usage[USAGE_PLACES[name]] if self.usage else 0
        number: int = getattr(self, name)
        return number


NO_TOTALS = ModelTotals()
"""Of a model that is known and was not called yet."""


def aggregate(records: Iterable[Record]) -> dict[str, ModelTotals]:
    """Totals of these records by true model id."""
    totals: dict[str, ModelTotals] = {}
    for record in records:
        latency_us = record.latency_us
        mine = totals.get(record.model_id)
        if mine is None:
            mine = totals[record.model_id] = ModelTotals(min_latency_us=latency_us, max_latency_us=latency_us)
        elif latency_us < mine.min_latency_us:
            mine.min_latency_us = latency_us
        elif latency_us > mine.max_latency_us:
            mine.max_latency_us = latency_us
        mine.latency_us += latency_us
        if record.timestamp_us > mine.last_timestamp_us:
            mine.last_timestamp_us = record.timestamp_us
        mine.buckets[bisect_left(BUCKET_BOUNDS_US, latency_us)] += 1
        error_type = record.error_type
        if error_type is None:
            mine.success_count += 1
        else:
            mine.failure_count += 1
            mine.errors[error_type] = mine.errors.get(error_type, 0) + 1
        if (  # here, and not in a function: there is none of it in most records
            record.output_tokens is not None
            or record.operation in METERED
            or record.input_tokens is not None
            or record.time_to_first_token_us is not None
            or record.time_per_output_token_us is not None
            or record.cost_nano_usd is not None
            or record.cached_input_tokens is not None
            or record.reasoning_tokens is not None
            or record.queue_us is not None
        ):
            mine.usage = count_usage(mine.usage, record)
    for mine in totals.values():
        mine.latency_us = min(mine.latency_us, MAX_COUNT)
        if mine.usage:
            mine.usage = bounded(mine.usage)
    return totals


def without(mine: ModelTotals, some: ModelTotals) -> ModelTotals:
    """What is left of sums without some that are part of them. Minimum, maximum and last timestamp stay."""
    errors = {kind: count - some.errors.get(kind, 0) for kind, count in mine.errors.items()}
    return ModelTotals(
        mine.success_count - some.success_count,
        mine.failure_count - some.failure_count,
        mine.latency_us - some.latency_us,
        mine.min_latency_us,
        mine.max_latency_us,
        mine.last_timestamp_us,
        [*map(sub, mine.buckets, some.buckets)],
        {kind: count for kind, count in errors.items() if count},
        subtract_usage(mine.usage, some.usage),
    )


def merged(mine: ModelTotals | None, more: ModelTotals) -> ModelTotals:
    """Both together; neither is changed."""
    if mine is None or mine.count == 0:
        return more
    errors = mine.errors
    if more.errors:
        errors = {kind: errors.get(kind, 0) + more.errors.get(kind, 0) for kind in {**errors, **more.errors}}
    return ModelTotals(
        mine.success_count + more.success_count,
        mine.failure_count + more.failure_count,
        min(mine.latency_us + more.latency_us, MAX_COUNT),
        min(mine.min_latency_us, more.min_latency_us) if more.count else mine.min_latency_us,
        max(mine.max_latency_us, more.max_latency_us),
        max(mine.last_timestamp_us, more.last_timestamp_us),
        [*map(add, mine.buckets, more.buckets)],
        errors,
        add_usage(mine.usage, more.usage),
    )
