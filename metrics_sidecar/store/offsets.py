"""Deep offsets: where in time a page lies is found by counting, so that few rows are left to be skipped."""

import sqlite3
from bisect import bisect_left, bisect_right

from metrics_sidecar.queries import HistoryQuery
from metrics_sidecar.rollups import LEVELS, MINUTE_US
from metrics_sidecar.store.counts import WindowCounter
from metrics_sidecar.store.filters import Condition, Selection
from metrics_sidecar.store.rollups import table

DEEP = 5000
"""Up to here rows are skipped one by one."""


def come_nearer(
    connection: sqlite3.Connection, selection: Selection, query: HistoryQuery
) -> tuple[list[Condition], int]:
    """Conditions that leave out whole minutes of the rows to skip, and how many of them are left."""
    wanted, offset = query.filter, query.offset
    if offset <= DEEP or wanted.reads_rows or query.after is not None:
        return [], offset
    counter = WindowCounter(connection, wanted, selection)
    if not counter.is_quick:
        return [], offset
    minutes = _minutes(connection, selection)
    if query.order == "desc":

        def later(minute: int) -> int:
            return counter.count(minute * MINUTE_US, selection.until_us)

        index = bisect_left(minutes, True, key=lambda minute: later(minute) <= offset)
        if index == len(minutes):
            return [], offset
        return [("timestamp_us < ?", (minutes[index] * MINUTE_US,))], offset - later(minutes[index])

    def earlier(minute: int) -> int:
        return counter.count(selection.since_us, minute * MINUTE_US)

    index = bisect_right(minutes, offset, key=earlier) - 1
    if index < 0:
        return [], offset
    return [("timestamp_us >= ?", (minutes[index] * MINUTE_US,))], offset - earlier(minutes[index])


def _minutes(connection: sqlite3.Connection, selection: Selection) -> range:
    """From the first that a page may begin in, to the one after the last that is rolled up."""
    # Two questions: SQLite answers both together only by reading all.
    ends = (f"SELECT {end}(bucket) FROM {table(LEVELS[0])}" for end in ("MIN", "MAX"))
    first, last = (connection.execute(query).fetchone()[0] for query in ends)
    return range(max(first or 0, -(-(selection.since_us or 0) // MINUTE_US)), 0 if last is None else last + 2)
