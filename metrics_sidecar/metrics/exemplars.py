"""Traced invocations that stand for others like them: of each label and bucket of the histogram, the latest.

They lead from a point in a graph to a trace. Kept in memory alone: after a restart the next ones show.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_US
from shared.record import MAX_TIMESTAMP_US, Record


class Exemplar(NamedTuple):
    """One traced invocation; `ended_us` is when its answer was there."""

    ended_us: int
    latency_us: int
    trace_id: str


Buckets = Mapping[int, Exemplar]
"""Index of the bucket → the latest exemplar in it. Never changed."""


def find_exemplars(records: Iterable[Record], now_us: int = MAX_TIMESTAMP_US) -> dict[str, Buckets]:
    """The latest of each bucket, by true model id. None ends later than now, as it would stay the latest for long, also
    in Prometheus."""
    found: dict[str, dict[int, Exemplar]] = {}
    for record in records:
        if record.trace_id is not None:
            latency_us = record.latency_us
            exemplar = Exemplar(min(record.timestamp_us + latency_us, now_us), latency_us, record.trace_id)
            buckets = found.setdefault(record.model_id, {})
            bucket = bisect_left(BUCKET_BOUNDS_US, latency_us)
            buckets[bucket] = max(buckets.get(bucket, exemplar), exemplar)
    return dict(found)


def latest(mine: Buckets | None, more: Buckets) -> Buckets:
    """The later one of each bucket. Prometheus refuses an exemplar that is older than the one it has."""
    if mine is None:
        return more
    return {**mine, **{bucket: max(mine.get(bucket, exemplar), exemplar) for bucket, exemplar in more.items()}}
