"""Pages of successes during an outage: where the next success lies is told by the rollups, so that failures between,
of which there can be any number, are not read."""

import json
import sqlite3
from collections.abc import Sequence

from msgspec.structs import replace

from metrics_sidecar.history.queries import HistoryQuery, Order
from metrics_sidecar.history.rollups import ALL_MODELS, LEVELS, MINUTE_US, Segment, cover
from metrics_sidecar.sqlite.counts import WindowCounter, rolled_up_minutes
from metrics_sidecar.sqlite.filters import Selection
from metrics_sidecar.sqlite.rollups import EXISTING_BLOCKS, Progress, Table, read_progress

_FIND = f"""{EXISTING_BLOCKS}
SELECT {{end}}(bucket) FROM found CROSS JOIN json_each(:models) AS models CROSS JOIN {{table.name}} AS rollups
ON rollups.{{table.block}} = found.start AND rollups.model = models.value
WHERE rollups.success_count > 0 AND rollups.bucket >= :start AND rollups.bucket < :end
"""


def skip_failures(
    connection: sqlite3.Connection, selection: Selection, query: HistoryQuery
) -> tuple[Selection, HistoryQuery]:
    """The same rows; if a page begins with a minute of failures alone, which is one look-up, without those that have no
    success before the next that has. A page that an outage divides reads through it."""
    if query.filter.status != "success" or query.filter.reads_rows:
        return selection, query
    progress = read_progress(connection)
    if not progress.is_complete:
        return selection, query
    since_us, until_us = _bounds(selection, query)
    known = rolled_up_minutes(connection)
    first = max(known.start, (since_us or 0) // MINUTE_US)
    end = known.stop if until_us is None else min(known.stop, -(-until_us // MINUTE_US))
    search = _Search(connection, selection.models or [ALL_MODELS], query.order, progress)
    begin = first if query.order == "asc" else end - 1
    if first >= end or not search.has_failed(begin):
        return selection, query
    found = search.find(first, end)
    skipped: tuple[int | None, int | None]
    if query.order == "asc":
        bound_us = (end if found is None else found) * MINUTE_US
        skipped, narrowed = (since_us, bound_us), selection._replace(since_us=bound_us)
    else:
        bound_us = (first if found is None else found + 1) * MINUTE_US
        skipped, narrowed = (bound_us, until_us), selection._replace(until_us=bound_us)
    if WindowCounter(connection, query.filter, selection).count(*skipped):
        return selection, query  # some that are not rolled up yet
    return narrowed, replace(query, after=None)


def _bounds(selection: Selection, query: HistoryQuery) -> tuple[int | None, int | None]:
    """Those of the page and what follows it."""
    since_us, until_us = selection.since_us, selection.until_us
    if query.after is None:
        return since_us, until_us
    at_us = query.after.timestamp_us
    if query.order == "asc":
        return max(since_us or 0, at_us), until_us
    return since_us, at_us + 1 if until_us is None else min(until_us, at_us + 1)


class _Search:
    """For minutes in which any of these models has a success, in the order of a page."""

    def __init__(self, connection: sqlite3.Connection, models: list[int], order: Order, progress: Progress) -> None:
        self._connection = connection
        self._models = json.dumps(models)
        self._order = order
        self._built_until = progress.built_until

    def has_failed(self, minute: int) -> bool:
        """There were calls, and none of them succeeded."""
        table = Table(LEVELS[0])
        query = f"""SELECT SUM(success_count) FROM {table.name}
        WHERE {table.block} = ? AND bucket = ? AND model IN (SELECT value FROM json_each(?))"""
        arguments = (table.block_of(minute), minute, self._models)
        successes: int | None = self._connection.execute(query, arguments).fetchone()[0]
        return successes == 0

    def find(self, start: int, end: int, levels: Sequence[int] = LEVELS) -> int | None:
        """The first one in order: in larger buckets first, and then within the one that has it."""
        segments = cover(start, end, self._built_until, levels)
        for segment in segments if self._order == "asc" else reversed(segments):
            bucket = self.find_in(segment)
            if bucket is not None and segment.level > LEVELS[0]:
                # The last bucket that there is may begin before the end and not be full.
                return self.find(bucket, min(bucket + segment.level, end), levels[: levels.index(segment.level)])
            if bucket is not None:
                return bucket
        return None

    def find_in(self, segment: Segment) -> int | None:
        """The first bucket in order."""
        table = Table(segment.level)
        query = _FIND.format(end="MIN" if self._order == "asc" else "MAX", table=table)
        arguments = {**table.bounds(segment), "models": self._models}
        bucket: int | None = self._connection.execute(query, arguments).fetchone()[0]
        return bucket
