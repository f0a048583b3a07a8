"""What the rollups add up to since the beginning, to be compared with the totals."""

import sqlite3
from collections.abc import Iterator

import msgspec

from metrics_sidecar.history.windows import DAY, MINUTE_US
from metrics_sidecar.ledger.totals import ModelTotals, merged
from metrics_sidecar.ledger.usage import add_usage
from metrics_sidecar.sqlite.buckets import LEVELS, Segment
from metrics_sidecar.sqlite.rollups import Table, read_progress
from metrics_sidecar.sqlite.used import count_used_rollups, count_used_rows
from shared.record import MAX_COUNT, MAX_TIMESTAMP_US

END = (MAX_TIMESTAMP_US // MINUTE_US // DAY + 1) * DAY

# The sum is in two halves: SQLite's own would overflow.
_SUMS = """
SELECT model, SUM({success}), SUM({failure}), SUM(latency_us >> 32), SUM(latency_us & 0xFFFFFFFF), MIN({minimum}),
    MAX({maximum}), MAX({last})
"""
_OF_ROLLUPS = _SUMS.format(
    success="success_count",
    failure="failure_count",
    minimum="min_latency_us",
    maximum="max_latency_us",
    last="last_timestamp_us",
)
_OF_ROWS = _SUMS.format(
    success="error_type IS NULL",
    failure="error_type IS NOT NULL",
    minimum="latency_us",
    maximum="latency_us",
    last="timestamp_us",
)


def count_rolled_up(connection: sqlite3.Connection, after: int, last: int) -> dict[int, dict[int, ModelTotals]] | None:
    """Level → number → totals without buckets and errors, of the models of a range, from buckets of this length and
    smaller ones where there are any. None while rows of an older release are being rolled up, and once sums by the day
    have been removed."""
    progress = read_progress(connection)
    if not progress.is_complete or progress.kept.days:
        return None
    waiting: dict[int, ModelTotals] = {}
    beyond, arguments = progress.waiting
    query = f"{_OF_ROWS} FROM invocations WHERE {beyond} AND +model > ? AND +model <= ? GROUP BY +model"
    for row in connection.execute(query, (*arguments, after, last)):
        model, found = _totals(*row)
        waiting[model] = found
    for model, usage in count_used_rows(connection, (progress.last_id + 1, MAX_COUNT), (after, last)):
        waiting[model].usage = add_usage(waiting[model].usage, usage)
    sums: dict[int, dict[int, ModelTotals]] = {}
    for number, level in enumerate(LEVELS, 1):
        totals = sums[level] = dict(waiting)
        since = progress.kept.levels[level]
        for segment in [*progress.segments(0, since), *progress.segments(since, END, LEVELS[:number])]:
            for model, found in _add_up(connection, segment, after, last):
                totals[model] = merged(totals.get(model), found)
            for model, usage in count_used_rollups(connection, segment, after, last):
                known = totals.get(model, ModelTotals())
                totals[model] = msgspec.structs.replace(known, usage=add_usage(known.usage, usage))
    return sums


def _add_up(
    connection: sqlite3.Connection, segment: Segment, after: int, last: int
) -> Iterator[tuple[int, ModelTotals]]:
    table = Table(segment.level)
    query = (
        f"{_OF_ROLLUPS} FROM {table.name} WHERE {table.within()} AND model > :after AND model <= :last GROUP BY model"
    )
    for row in connection.execute(query, {**table.bounds(segment), "after": max(after, 0), "last": last}):
        yield _totals(*row)


def _totals(
    model: int, success: int, failure: int, high: int, low: int, minimum: int, maximum: int, last: int
) -> tuple[int, ModelTotals]:
    latency_us = min((high << 32) + low, MAX_COUNT)
    return model, ModelTotals(success, failure, latency_us, minimum, maximum, last)
