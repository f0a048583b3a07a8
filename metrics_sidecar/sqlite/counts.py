"""How many rows a filter matches: from sums where these tell, from an index where it is quick, otherwise row by row,
but not for long."""

import contextlib
import json
import sqlite3
from typing import NamedTuple

import msgspec

from metrics_sidecar.history.queries import HistoryFilter
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.sqlite.buckets import ALL_MODELS, Segment
from metrics_sidecar.sqlite.filters import Selection, where
from metrics_sidecar.sqlite.guard import Guard, StepsOverError
from metrics_sidecar.sqlite.rollups import Condition, Table, read_progress
from shared.record import MAX_TIMESTAMP_US

COUNTED_STEPS = 2_000_000
"""Of SQLite's virtual machine, for counting rows one by one: about 0.1 s."""
MAX_LISTED = 4096
"""Blocks, of each of some models, that are looked up whether there are any or not."""
MANY_MODELS = 16
"""Beyond it the failures of a part of a minute are found by their types alone, and their models looked at: they are
fewer than models and types."""

_SUMS = {None: "success_count + failure_count", "success": "success_count", "failure": "failure_count"}
_SUM_BUCKETS = """
SELECT {summed} FROM json_each(:blocks) AS blocks CROSS JOIN json_each(:models) AS models
CROSS JOIN {table.name} AS rollups ON rollups.{table.block} = blocks.value AND rollups.model = models.value
WHERE rollups.bucket >= :start AND rollups.bucket < :end
"""


class Count(NamedTuple):
    """Where it is not exact, there are at least so many."""

    rows: int
    is_exact: bool


def count(connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection, guard: Guard) -> Count:
    """All that the filter matches."""
    if wanted.reads_rows:
        return _count_each(connection, selection, guard)
    if not selection.time:  # there is one once retention has removed rows, which totals still count
        return Count(_sum_totals(connection, wanted, selection), True)
    return Count(count_window(connection, wanted, selection), True)


def _count_each(connection: sqlite3.Connection, selection: Selection, guard: Guard) -> Count:
    clause, arguments = where(selection.lanes(), selection.time, selection.rest)
    counted, is_exact = 0, False
    with contextlib.suppress(StepsOverError), guard.limited(COUNTED_STEPS):
        for _ in connection.execute(f"SELECT 1 FROM invocations {clause}", arguments):
            counted += 1
        is_exact = True
    return Count(counted, is_exact)


def _sum_totals(connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection) -> int:
    if wanted.error_types:
        # Each model's are looked up: most of the table is of other types.
        summed, name, lanes = "count", "totals CROSS JOIN error_totals USING (model)", selection.lanes()
    else:
        summed, name, lanes = _SUMS[wanted.status], "totals", selection._replace(error_types=None).lanes()
    clause, arguments = where(lanes)
    (counted,) = connection.execute(f"SELECT COALESCE(SUM({summed}), 0) FROM {name} {clause}", arguments).fetchone()
    return int(counted)


def count_window(connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection) -> int:
    """Of a stretch of time: whole minutes in the rollups, the rest in the index. Not for filters that look at rows. As
    long as rows of an older release are still being rolled up, rows are counted."""
    progress = read_progress(connection)
    since_us = selection.since_us or 0
    until_us = MAX_TIMESTAMP_US + 1 if selection.until_us is None else selection.until_us
    start, end = -(-since_us // MINUTE_US), until_us // MINUTE_US
    if start >= end or not progress.is_complete:
        return _count_in_index(connection, selection, since_us, until_us)
    segments = progress.segments(start, end)
    return (
        sum(_sum_segment(connection, wanted, selection.models or [ALL_MODELS], segment) for segment in segments)
        + _count_waiting(connection, selection, progress.waiting, start, end)
        + _count_in_index(connection, selection, since_us, start * MINUTE_US)
        + _count_in_index(connection, selection, end * MINUTE_US, until_us)
    )


def _count_in_index(connection: sqlite3.Connection, selection: Selection, since_us: int, until_us: int) -> int:
    by_type = selection.error_types is not None and len(selection.models or []) > MANY_MODELS
    bounds = [("timestamp_us >= ?", (since_us,)), ("timestamp_us < ?", (until_us,))]
    clause, arguments = where(selection.lanes("+model" if by_type else "model"), bounds, selection.rest)
    return int(connection.execute(f"SELECT COUNT(*) FROM invocations {clause}", arguments).fetchone()[0])


def _count_waiting(
    connection: sqlite3.Connection, selection: Selection, waiting: Condition, start: int, end: int
) -> int:
    """Rows that are in no bucket yet: few, so they are read as they stand in the file, not through an index."""
    bounds = [("timestamp_us < ?", (end * MINUTE_US,)), ("timestamp_us >= ?", (start * MINUTE_US,))]
    clause, arguments = where([waiting], bounds, selection.lanes(), selection.rest)
    query = f"SELECT COUNT(*) FROM invocations NOT INDEXED {clause}"
    return int(connection.execute(query, arguments).fetchone()[0])


def _sum_segment(connection: sqlite3.Connection, wanted: HistoryFilter, models: list[int], segment: Segment) -> int:
    table = Table(segment.level)
    summed = "errors" if wanted.error_types else f"COALESCE(SUM({_SUMS[wanted.status]}), 0)"
    blocks = table.list_blocks(connection, segment, MAX_LISTED // len(models))
    arguments = {**table.bounds(segment), "blocks": blocks, "models": json.dumps(models)}
    found = connection.execute(_SUM_BUCKETS.format(summed=summed, table=table), arguments)
    if not wanted.error_types:
        return int(found.fetchone()[0])
    errors = (_errors.decode(encoded) for (encoded,) in found if encoded is not None)
    return sum(one.get(kind, 0) for one in errors for kind in wanted.error_types)


_errors = msgspec.msgpack.Decoder(dict[str, int])
