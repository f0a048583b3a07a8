"""How many rows a filter matches: from sums where these tell, from an index where it is quick, otherwise row by row,
but not for long."""

import contextlib
import json
import sqlite3
from typing import NamedTuple

import msgspec

from metrics_sidecar.history.queries import HistoryFilter
from metrics_sidecar.history.rollups import ALL_MODELS, LEVELS, MINUTE_US, Segment
from metrics_sidecar.sqlite.filters import Selection, where
from metrics_sidecar.sqlite.guard import Guard, StepsOverError
from metrics_sidecar.sqlite.rollups import Condition, Progress, Table, nearest, read_progress
from metrics_sidecar.sqlite.waiting import WaitingRows
from shared.record import MAX_TIMESTAMP_US, ErrorType

COUNTED_STEPS = 2_000_000
"""Of SQLite's virtual machine, for counting rows one by one: about 0.1 s."""
FEW_ROWS, FEW_ROWS_PER_MODEL = 2000, 20
"""So many rows are counted in an index at once: it takes no longer than looking up a window's buckets, which each
model has of its own."""
MAX_LISTED = 4096
"""Blocks, of each of some models, that are looked up whether there are any or not."""
MANY_MODELS = 16
"""Beyond it the failures of a part of a minute are found by their types alone, and their models looked at: they are
fewer than models and types."""

_SUMS = {None: "success_count + failure_count", "success": "success_count", "failure": "failure_count"}
_SUM_BUCKETS = """
SELECT {summed} FROM json_each(:blocks) AS blocks CROSS JOIN json_each(:models) AS models
CROSS JOIN {table.name} AS rollups {index} ON rollups.{table.block} = blocks.value AND rollups.model = models.value
WHERE rollups.bucket >= :start AND rollups.bucket < :end
"""


class Count(NamedTuple):
    """Where it is not exact, there are at least so many."""

    rows: int
    is_exact: bool


def count(
    connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection, guard: Guard, waiting: WaitingRows
) -> Count:
    """All that the filter matches."""
    if wanted.reads_rows:
        return _count_each(connection, selection, guard)
    if not selection.time:  # there is one once retention has removed rows, which totals still count
        return Count(_sum_totals(connection, wanted, selection), True)
    few = _count_few(connection, selection)
    if few is not None:
        return Count(few, True)
    counter = WindowCounter(connection, wanted, selection, waiting)
    return Count(counter.count(selection.since_us, selection.until_us), True)


def _count_each(connection: sqlite3.Connection, selection: Selection, guard: Guard) -> Count:
    clause, arguments = where(selection.lanes(), selection.time, selection.rest)
    counted, is_exact = 0, False
    with contextlib.suppress(StepsOverError), guard.limited(COUNTED_STEPS):
        for _ in connection.execute(f"SELECT 1 FROM invocations {clause}", arguments):
            counted += 1
        is_exact = True
    return Count(counted, is_exact)


def _count_few(connection: sqlite3.Connection, selection: Selection) -> int | None:
    """None if there are many: they are not counted to the end."""
    limit = FEW_ROWS + FEW_ROWS_PER_MODEL * len(selection.models or [])
    clause, arguments = where(selection.lanes(), selection.time)
    query = f"SELECT COUNT(*) FROM (SELECT 1 FROM invocations {clause} LIMIT ?)"
    (counted,) = connection.execute(query, [*arguments, limit + 1]).fetchone()
    if counted > limit:
        return None
    return int(counted) - _count_left_out(connection, selection, selection.time)


def _count_in_index(
    connection: sqlite3.Connection, selection: Selection, bounds: list[Condition], failures_model: str = "model"
) -> int:
    """By lanes and bounds alone, so that no row is looked at. `failures_model`: as `Selection.lanes`, of failures."""
    clause, arguments = where(selection.lanes("model" if selection.error_types is None else failures_model), bounds)
    (counted,) = connection.execute(f"SELECT COUNT(*) FROM invocations {clause}", arguments).fetchone()
    return int(counted) - _count_left_out(connection, selection, bounds, failures_model)


def _count_left_out(
    connection: sqlite3.Connection, selection: Selection, bounds: list[Condition], failures_model: str = "model"
) -> int:
    """Of rows of the lanes: failures, where successes are wanted, which are in no index of their own."""
    if not selection.rest:
        return 0
    failures = selection._replace(error_types=[*ErrorType], rest=[])
    return _count_in_index(connection, failures, bounds, failures_model)


def _sum_totals(connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection) -> int:
    if wanted.error_types:
        # Each model's are looked up: most of the table is of other types.
        summed, name, lanes = "count", "totals CROSS JOIN error_totals USING (model)", selection.lanes()
    else:
        summed, name, lanes = _SUMS[wanted.status], "totals", selection._replace(error_types=None).lanes()
    clause, arguments = where(lanes)
    (counted,) = connection.execute(f"SELECT COALESCE(SUM({summed}), 0) FROM {name} {clause}", arguments).fetchone()
    return int(counted)


class WindowCounter:
    """Counts in stretches of time: whole minutes in the rollups, the rest in the index. Not for filters that
    look at rows."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        wanted: HistoryFilter,
        selection: Selection,
        waiting: WaitingRows | None = None,
    ) -> None:
        """Without `waiting` they are looked at for each window."""
        self._connection = connection
        self._waiting = waiting
        self._wanted = wanted
        self._selection = selection
        self._progress: Progress = read_progress(connection)
        self._is_together = selection.models is None
        self._models = [ALL_MODELS] if selection.models is None else selection.models

    @property
    def is_quick(self) -> bool:
        """False as long as rows of an older release are still being rolled up: until then rows are counted."""
        return self._progress.is_complete

    def count(self, since_us: int | None, until_us: int | None) -> int:
        """Rows not before one moment and before another; None: from the first, to the last."""
        since_us = since_us or 0
        until_us = MAX_TIMESTAMP_US + 1 if until_us is None else until_us
        # The nearest whole minutes: what is in them and not in the window is subtracted.
        start, end = (nearest(moment_us, MINUTE_US) // MINUTE_US for moment_us in (since_us, until_us))
        if start >= end or not self.is_quick:
            return _count_in_index(self._connection, self._selection, _within(since_us, until_us))
        return (
            sum(sign * self._sum_segment(segment) for sign, segment in self._progress.signed_segments(start, end))
            + self._count_waiting(start * MINUTE_US, end * MINUTE_US)
            + self._count_edge(since_us, start * MINUTE_US)
            + self._count_edge(end * MINUTE_US, until_us)
        )

    def _count_waiting(self, since_us: int, until_us: int) -> int:
        """Rows that are in no bucket yet: few, so they are read as they stand in the file, not through an index."""
        if self._waiting is not None and self._waiting.earliest_us(self._connection, self._progress) >= until_us:
            return 0
        first: list[Condition] = [self._progress.waiting(together=self._is_together), ("timestamp_us < ?", (until_us,))]
        then: list[Condition] = [("timestamp_us >= ?", (since_us,))]  # nearly always so
        clause, arguments = where(first, self._selection.lanes(), self._selection.rest, then)
        query = f"SELECT COUNT(*) FROM invocations NOT INDEXED {clause}"
        return int(self._connection.execute(query, arguments).fetchone()[0])

    def _count_edge(self, since_us: int, until_us: int) -> int:
        """Part of a minute; if it ends before it begins, less than none."""
        if since_us > until_us:
            return -self._count_edge(until_us, since_us)
        failures_model = "+model" if len(self._models) > MANY_MODELS else "model"
        return _count_in_index(self._connection, self._selection, _within(since_us, until_us), failures_model)

    def _sum_segment(self, segment: Segment) -> int:
        table = Table(segment.level)
        summed, index = f"COALESCE(SUM({_SUMS[self._wanted.status]}), 0)", table.counts_index
        if self._wanted.error_types:
            summed, index = "errors", ""
        blocks = table.list_blocks(self._connection, segment, MAX_LISTED // len(self._models))
        arguments = {**table.bounds(segment), "blocks": blocks, "models": json.dumps(self._models)}
        found = self._connection.execute(_SUM_BUCKETS.format(summed=summed, table=table, index=index), arguments)
        if not self._wanted.error_types:
            return int(found.fetchone()[0])
        errors = (_errors.decode(encoded) for (encoded,) in found if encoded is not None)
        return sum(one.get(kind, 0) for one in errors for kind in self._wanted.error_types)


def rolled_up_minutes(connection: sqlite3.Connection) -> range:
    """From the first that has a row to the last, of those rows that do not wait for the sums of all models."""
    table = Table(LEVELS[0])
    ends: list[int | None] = []
    for end in ("MIN", "MAX"):  # two questions: SQLite answers both together only by reading all
        query = f"""SELECT COALESCE((SELECT {end}(bucket) FROM {table.name} WHERE {table.block} = at AND model = ?), at)
        FROM (SELECT {end}({table.block}) AS at FROM {table.name})"""
        ends += connection.execute(query, (ALL_MODELS,)).fetchone()
    first, last = ends
    return range(0) if first is None or last is None else range(first, last + 1)


def _within(since_us: int, until_us: int) -> list[Condition]:
    return [("timestamp_us >= ?", (since_us,)), ("timestamp_us < ?", (until_us,))]


_errors = msgspec.msgpack.Decoder(dict[str, int])
