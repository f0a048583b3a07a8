"""A page of the history: the keys of its rows, merged from the lanes of its filter, and then the rows."""

import heapq
import json
import re
import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from metrics_sidecar.history.queries import HistoryPage, HistoryQuery, HistoryRow, Position
from metrics_sidecar.sqlite.columns import COLUMNS
from metrics_sidecar.sqlite.counts import Count, count
from metrics_sidecar.sqlite.filters import Lane, Selection, first_kept_us, select, where
from metrics_sidecar.sqlite.guard import Guard
from metrics_sidecar.sqlite.rollups import Condition

MANY_LANES = 16
SCANNED_ROWS = 2000
"""With many models, a page is first looked for among so many rows: if it is there, they need no merging."""
KEYS_AT_ONCE = 8
"""Of a lane, more than its even share of a page. One statement that is run again for each lane: Python would prepare
a second one for each that is read beside others."""

Key = tuple[int, int]
"""Timestamp and id; both negative where the newest come first: keys always ascend."""

LEAST = -(2**63)
_ID = re.compile("[1-9][0-9]{0,18}", re.ASCII)
_Due = tuple[int, int, Lane, list[Key]]

_rows = msgspec.json.Decoder(list[HistoryRow])


class Direction(NamedTuple):
    """SQL of keys in ascending order, and their sign."""

    key: str
    order: str
    after: str
    sign: int


DIRECTIONS = {
    "asc": Direction("timestamp_us, id", "ORDER BY timestamp_us, id", "(timestamp_us, id) > (?, ?)", 1),
    "desc": Direction("-timestamp_us, -id", "ORDER BY timestamp_us DESC, id DESC", "(timestamp_us, id) < (?, ?)", -1),
}


def read_history(connection: sqlite3.Connection, query: HistoryQuery, guard: Guard) -> HistoryPage:
    """One page and the count of all that matches, within the caller's transaction."""
    selection = select(connection, query.filter)
    if not selection.lane_count:
        return HistoryPage([], 0, None)
    keys = read_keys(connection, selection, query)
    rows = _read_rows(connection, [abs(row_id) for _, row_id in keys[: query.limit]])
    more = len(keys) > query.limit
    seen = query.offset + len(keys) if keys else 0
    if query.after is None and not more and (keys or not query.offset):
        total = Count(seen, True)  # the page ends with the last row of all
    else:
        total = count(connection, query.filter, selection, guard)
    next_ = Position(rows[-1].timestamp_us, rows[-1].id) if more else None
    return HistoryPage(rows, max(total.rows, seen), next_, total.is_exact)


def read_invocation(connection: sqlite3.Connection, row_id: str) -> HistoryRow | None:
    """The row of this id, if there is one."""
    rows = _read_rows(connection, [int(row_id)] if _ID.fullmatch(row_id) else [])
    return rows[0] if rows and rows[0].timestamp_us >= first_kept_us(connection) else None


def read_keys(connection: sqlite3.Connection, selection: Selection, query: HistoryQuery) -> list[Key]:
    """Those of the page, and of one row more if there is one: it tells whether there is a next page."""
    direction = DIRECTIONS[query.order]
    selection, query = _drop_bound(selection, query)
    wanted, offset = query.limit + 1, query.offset
    lanes = _Lanes(connection, selection, direction, query.after)
    if selection.lane_count == 1:
        return lanes.read(selection.only_lane, wanted, offset=offset)
    if selection.lane_count > MANY_LANES and selection.error_types is None:
        found = lanes.scan(wanted, offset)
        if len(found) == wanted:
            return found
    return list(islice(lanes.merge(offset + wanted), offset, offset + wanted))


def _drop_bound(selection: Selection, query: HistoryQuery) -> tuple[Selection, HistoryQuery]:
    """The same rows: without the page's position or without the bound that is before it. With both SQLite would begin
    at either, and read on to the other."""
    if query.after is None:
        return selection, query
    at_us = query.after.timestamp_us
    if query.order == "asc":
        if at_us < (selection.since_us or 0):
            return selection, replace(query, after=None)
        return selection._replace(since_us=None), query
    if selection.until_us is not None and at_us >= selection.until_us:
        return selection, replace(query, after=None)
    return selection._replace(until_us=None), query


class _Lanes:
    """Keys of the lanes of a selection, in one direction, all of them after a position."""

    def __init__(
        self, connection: sqlite3.Connection, selection: Selection, direction: Direction, after: Position | None
    ) -> None:
        self._connection = connection
        self._selection = selection
        self._time = selection.time
        self._direction = direction
        self._after = [] if after is None else [self._beyond(after.timestamp_us, int(after.id))]

    def read(self, lane: Lane, limit: int, *, offset: int = 0, after: Key | None = None) -> list[Key]:
        """One lane, or what of it is after a key: its index is read in its order."""
        sign = self._direction.sign
        beyond = self._after if after is None else [self._beyond(sign * after[0], sign * after[1])]
        clause, arguments = where(self._selection.lane("?", "?"), self._time, beyond, self._selection.rest)
        sql = f"SELECT {self._direction.key} FROM invocations {clause} {self._direction.order} LIMIT ? OFFSET ?"
        return self._connection.execute(sql, [*filter(None, lane), *arguments, limit, offset]).fetchall()

    def scan(self, limit: int, offset: int) -> list[Key]:
        """What of the lanes is among the first rows of all."""
        inner, arguments = where(self._time, self._after)
        outer, more = where(self._selection.lanes(), self._selection.rest)
        sql = f"""SELECT {self._direction.key} FROM (
            SELECT * FROM invocations {inner} {self._direction.order} LIMIT {SCANNED_ROWS}
        ) {outer} LIMIT ? OFFSET ?"""
        return self._connection.execute(sql, [*arguments, *more, limit, offset]).fetchall()

    def merge(self, limit: int) -> Iterator[Key]:
        """All lanes in order. A lane is read when its first row is due: of many, most never are."""
        at_once = limit // self._selection.lane_count + KEYS_AT_ONCE
        # Until then its first id is not known: it counts as the least, so that the lane is read soon enough.
        heap: list[_Due] = [(first, LEAST, lane, []) for first, lane in self._first_timestamps()]
        heapq.heapify(heap)
        while heap:
            timestamp, row_id, lane, following = heap[0]
            if row_id != LEAST:
                yield timestamp, row_id
            if not following:
                after = None if row_id == LEAST else (timestamp, row_id)
                following = self.read(lane, at_once, after=after)[::-1]
            if following:
                heapq.heapreplace(heap, (*following.pop(), lane, following))
            else:
                heapq.heappop(heap)

    def _first_timestamps(self) -> Iterator[tuple[int, Lane]]:
        """Of each lane that has any row, its first timestamp as in keys; one statement for all lanes."""
        lane = self._selection.lane("models.value", "error_types.value")
        clause, arguments = where(lane, self._time, self._after, self._selection.rest)
        sql = f"""SELECT models.value, error_types.value, (
            SELECT timestamp_us FROM invocations {clause} {self._direction.order.partition(",")[0]} LIMIT 1
        ) FROM json_each(?) AS models CROSS JOIN json_each(?) AS error_types"""
        values = [json.dumps([None] if some is None else some) for some in self._selection[:2]]
        for model, error_type, first in self._connection.execute(sql, [*arguments, *values]):
            if first is not None:
                yield self._direction.sign * first, (model or 0, error_type or "")

    def _beyond(self, timestamp_us: int, row_id: int) -> Condition:
        return self._direction.after, (timestamp_us, row_id)


def _read_rows(connection: sqlite3.Connection, ids: list[int]) -> list[HistoryRow]:
    """The rows of these ids, in this order; without those that there are none of."""
    found = connection.execute(
        f"""SELECT json_group_array(json_array({COLUMNS.shown})) FROM json_each(?) AS wanted
        CROSS JOIN invocations ON invocations.id = wanted.value""",
        (json.dumps(ids),),
    )
    return _rows.decode(found.fetchone()[0])
