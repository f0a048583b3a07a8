"""How many rows a filter matches: from sums where these tell, from an index where it is quick, otherwise row by row,
but not for long."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from metrics_sidecar.queries import HistoryFilter
from metrics_sidecar.rollups import ALL_MODELS, LEVELS, MINUTE_US, Segment, cover
from metrics_sidecar.store.filters import Condition, Selection, where
from metrics_sidecar.store.guard import Guard, StepsOverError
from metrics_sidecar.store.rollups import EXISTING_BUCKETS, Progress, read_progress, table
from shared.record import MAX_TIMESTAMP_US, ErrorType

COUNTED_STEPS = 2_000_000
"""Of SQLite's virtual machine, for counting rows one by one: about 0.1 s."""
QUICK_STEPS = 30_000
"""For counting in an index, which is quicker than looking up many buckets as long as rows are few."""

_SUMS = {None: "success_count + failure_count", "success": "success_count", "failure": "failure_count"}


class Count(NamedTuple):
    """Where it is not exact, there are at least so many."""

    rows: int
    is_exact: bool


def count(connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection, guard: Guard) -> Count:
    """All that the filter matches."""
    if wanted.reads_rows:
        return _count_each(connection, selection, guard)
    # Totals count what retention has removed, too.
    if not selection.time and not read_progress(connection).rows_from:
        return Count(_sum_totals(connection, wanted, selection), True)
    with contextlib.suppress(StepsOverError), guard.limited(QUICK_STEPS):
        return Count(_count_in_index(connection, selection, selection.time), True)
    return Count(WindowCounter(connection, wanted, selection).count(selection.since_us, selection.until_us), True)


def _count_each(connection: sqlite3.Connection, selection: Selection, guard: Guard) -> Count:
    clause, arguments = where(selection.lanes(), selection.time, selection.rest)
    counted, is_exact = 0, False
    with contextlib.suppress(StepsOverError), guard.limited(COUNTED_STEPS):
        for _ in connection.execute(f"SELECT 1 FROM invocations {clause}", arguments):
            counted += 1
        is_exact = True
    return Count(counted, is_exact)


def _count_in_index(
    connection: sqlite3.Connection, selection: Selection, bounds: Iterable[Condition], how: str = ""
) -> int:
    """By lanes and bounds alone, so that no row is looked at: successes are those that are no failures."""
    clause, arguments = where(selection.lanes(), bounds)
    (counted,) = connection.execute(f"SELECT COUNT(*) FROM invocations {how} {clause}", arguments).fetchone()
    if selection.rest:
        failures = selection._replace(error_types=[*ErrorType], rest=[])
        counted -= _count_in_index(connection, failures, bounds, how)
    return int(counted)


def _sum_totals(connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection) -> int:
    if wanted.error_types:
        summed, name, lanes = "count", "error_totals", selection.lanes()
    else:
        summed, name, lanes = _SUMS[wanted.status], "totals", selection._replace(error_types=None).lanes()
    clause, arguments = where(lanes)
    (counted,) = connection.execute(f"SELECT COALESCE(SUM({summed}), 0) FROM {name} {clause}", arguments).fetchone()
    return int(counted)


class WindowCounter:
    """Counts in stretches of time: whole minutes in the rollups, the rest in the index. Not for filters that
    look at rows."""

    def __init__(self, connection: sqlite3.Connection, wanted: HistoryFilter, selection: Selection) -> None:
        self._connection = connection
        self._wanted = wanted
        self._selection = selection
        self._progress: Progress = read_progress(connection)
        self._is_together = selection.models is None
        self._models = [ALL_MODELS] if selection.models is None else selection.models
        # Two questions: SQLite answers both together only by reading all.
        ends = (f"SELECT {end}(bucket) FROM {table(LEVELS[0])}" for end in ("MIN", "MAX"))
        first, last = (connection.execute(query).fetchone()[0] for query in ends)
        self.first_minute: int = max(first or 0, self._progress.rows_from)
        self.end_minute: int = 0 if last is None else last + 1

    @property
    def is_quick(self) -> bool:
        """False as long as rows of an older release are still being rolled up: until then rows are counted."""
        return self._progress.is_complete

    def count(self, since_us: int | None, until_us: int | None) -> int:
        """Rows not before one moment and before another; None: from the first, to the last."""
        since_us = since_us or 0
        until_us = MAX_TIMESTAMP_US + 1 if until_us is None else until_us
        start = max(-(-since_us // MINUTE_US), self.first_minute)
        end = min(until_us // MINUTE_US, self.end_minute)
        if start >= end or not self.is_quick:
            return _count_in_index(self._connection, self._selection, [_within(since_us, until_us)])
        waiting = [self._progress.waiting(together=self._is_together), _within(since_us, until_us)]
        return (
            _count_in_index(self._connection, self._selection, waiting, "NOT INDEXED")  # few rows, by their ids
            + self._count_edge(since_us, start * MINUTE_US)
            + sum(map(self._sum_segment, cover(start, end, self._progress.built_until)))
            + self._count_edge(end * MINUTE_US, until_us)
        )

    def _count_edge(self, since_us: int, until_us: int) -> int:
        """Part of a minute, from the rows that are rolled up."""
        rolled_up = self._progress.rolled_up(together=self._is_together)
        return _count_in_index(self._connection, self._selection, [_within(since_us, until_us), rolled_up])

    def _sum_segment(self, segment: Segment) -> int:
        summed = "errors" if self._wanted.error_types else f"COALESCE(SUM({_SUMS[self._wanted.status]}), 0)"
        found = self._connection.execute(
            f"""{EXISTING_BUCKETS.format(table=table(segment.level))}
            SELECT {summed} FROM found CROSS JOIN json_each(:models) AS models
            CROSS JOIN {table(segment.level)} AS rollups
            ON rollups.bucket = found.start AND rollups.model = models.value""",
            {"start": segment.start, "end": segment.end, "models": json.dumps(self._models)},
        )
        if not self._wanted.error_types:
            return int(found.fetchone()[0])
        errors = (_errors.decode(encoded) for (encoded,) in found if encoded is not None)
        return sum(one.get(kind, 0) for one in errors for kind in self._wanted.error_types)


def _within(since_us: int, until_us: int) -> Condition:
    return "timestamp_us >= ? AND timestamp_us < ?", (since_us, until_us)


_errors = msgspec.msgpack.Decoder(dict[str, int])
