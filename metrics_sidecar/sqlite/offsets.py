"""Deep offsets: where in time a page lies is found by counting, so that few rows are left to be skipped."""

import sqlite3
from bisect import bisect_left, bisect_right

from msgspec.structs import replace

from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.history.rollups import MINUTE_US
from metrics_sidecar.sqlite.counts import WindowCounter, rolled_up_minutes
from metrics_sidecar.sqlite.filters import Selection

DEEP = 5000
"""Up to here rows are skipped one by one."""


def come_nearer(
    connection: sqlite3.Connection, selection: Selection, query: HistoryQuery
) -> tuple[Selection, HistoryQuery]:
    """The same page, without whole minutes of the rows to skip."""
    wanted, offset = query.filter, query.offset
    if offset <= DEEP or wanted.reads_rows or query.after is not None:
        return selection, query
    counter = WindowCounter(connection, wanted, selection)
    if not counter.is_quick:
        return selection, query
    known = rolled_up_minutes(connection)
    minutes = range(max(known.start, -(-(selection.since_us or 0) // MINUTE_US)), known.stop + 1)
    if query.order == "desc":

        def later(minute: int) -> int:
            return counter.count(minute * MINUTE_US, selection.until_us)

        index = bisect_left(minutes, True, key=lambda minute: later(minute) <= offset)
        if index == len(minutes) or (skipped := later(minutes[index])) == 0:
            return selection, query
        return selection._replace(until_us=minutes[index] * MINUTE_US), replace(query, offset=offset - skipped)

    def earlier(minute: int) -> int:
        return counter.count(selection.since_us, minute * MINUTE_US)

    index = bisect_right(minutes, offset, key=earlier) - 1
    if index < 0:
        return selection, query
    skipped = earlier(minutes[index])
    return selection._replace(since_us=minutes[index] * MINUTE_US), replace(query, offset=offset - skipped)
