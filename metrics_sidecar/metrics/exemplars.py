"""Traced invocations that stand for others like them: of each label and bucket of its histograms, the latest.

They lead from a point in a graph to a trace. Kept in memory alone: after a restart the next ones show.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_US
from metrics_sidecar.ledger.usage import FIRST_TOKENS, PER_TOKENS, QUEUES
from shared.record import MAX_TIMESTAMP_US, Record


class Exemplar(NamedTuple):
    """One traced invocation: when its answer was there, and the time that put it into its bucket."""

    ended_us: int
    time_us: int
    trace_id: str


Buckets = Mapping[int, Exemplar]
"""Index of the bucket → the latest exemplar in it. Never changed. Buckets of the latency come first, then those of the
times of streams, and of waiting for room."""

BEGINS = (
    0,
    *accumulate(len(bounds) + 1 for bounds in (BUCKET_BOUNDS_US, FIRST_TOKENS.bounds_us, PER_TOKENS.bounds_us)),
)
"""Where buckets of the latency begin, of times to the first token, of times per token, and of waiting."""
_, _FIRST, _PER, _QUEUE = BEGINS
_FIRST_BOUNDS_US, _PER_BOUNDS_US, _QUEUE_BOUNDS_US = FIRST_TOKENS.bounds_us, PER_TOKENS.bounds_us, QUEUES.bounds_us


def find_exemplars(records: Iterable[Record], now_us: int = MAX_TIMESTAMP_US) -> dict[str, Buckets]:
    """The latest of each bucket, by true model id. None ends later than now, as it would stay the latest for long, also
    in Prometheus."""
    found: dict[str, dict[int, Exemplar]] = {}
    for record in records:
        if record.trace_id is not None:
            ended_us = min(record.timestamp_us + record.latency_us, now_us)
            buckets = found.setdefault(record.model_id, {})
            for bucket, time_us in _places(record):
                exemplar = Exemplar(ended_us, time_us, record.trace_id)
                buckets[bucket] = max(buckets.get(bucket, exemplar), exemplar)
    return dict(found)


def _places(record: Record) -> Iterator[tuple[int, int]]:
    """Its buckets, and the time for which it is in each."""
    yield bisect_left(BUCKET_BOUNDS_US, record.latency_us), record.latency_us
    first_us, per_us = record.time_to_first_token_us, record.time_per_output_token_us
    if first_us is not None:
        yield _FIRST + bisect_left(_FIRST_BOUNDS_US, first_us), first_us
    if per_us is not None:
        yield _PER + bisect_left(_PER_BOUNDS_US, per_us), per_us
    if (queue_us := record.queue_us) is not None:
        yield _QUEUE + bisect_left(_QUEUE_BOUNDS_US, queue_us), queue_us


def of_histogram(buckets: Buckets, number: int) -> Buckets:
    """Those of one histogram, by its own buckets: in the order of `BEGINS`."""
    begin, end = (*BEGINS, sys.maxsize)[number : number + 2]
    return {bucket - begin: exemplar for bucket, exemplar in buckets.items() if begin <= bucket < end}


def latest(mine: Buckets | None, more: Buckets) -> Buckets:
    """The later one of each bucket. Prometheus refuses an exemplar that is older than the one it has."""
    if mine is None:
        return more
    return {**mine, **{bucket: max(mine.get(bucket, exemplar), exemplar) for bucket, exemplar in more.items()}}


def with_exemplars(samples: bytes, buckets: Buckets, number: int) -> bytes:
    """Samples of one histogram (its number as in `of_histogram`), of which the first lines are its buckets, as
    OpenMetrics shows examples of each."""
    if not samples or not buckets:
        return samples
    lines = samples.split(b"\n")
    for bucket, (ended_us, time_us, trace_id) in of_histogram(buckets, number).items():
        times = (*divmod(time_us, 1_000_000), *divmod(ended_us, 1_000_000))
        lines[bucket] += b' # {trace_id="%b"} %d.%06d %d.%06d' % (trace_id.encode(), *times)
    return b"\n".join(lines)
