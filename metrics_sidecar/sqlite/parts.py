"""The parts of a stretch of time: whole minutes from the rollups, the rest from rows; each record in exactly one."""

import json
import sqlite3
from collections.abc import Iterator, Sequence

from metrics_sidecar.history.windows import MINUTE_US, Window
from metrics_sidecar.sqlite.buckets import ALL_MODELS, LEVELS, Row, Segment
from metrics_sidecar.sqlite.rollups import SUMMARY, Condition, Progress, Table
from metrics_sidecar.sqlite.summaries import READ_ROLLED_UP, summarize

MAX_LISTED_BLOCKS = 20_000
ROWS_AT_ONCE = 8192

_OF_SOME = f"""
SELECT {SUMMARY} FROM json_each(:blocks) AS blocks CROSS JOIN json_each(:models) AS models
CROSS JOIN {{table.name}} ON {{table.block}} = blocks.value AND model = models.value
WHERE bucket >= :start AND bucket < :end
"""


class Parts:
    """Of a window, and of some models by their numbers (of all together: `ALL_MODELS`), or of each there is (None)."""

    def __init__(
        self, connection: sqlite3.Connection, progress: Progress, window: Window, models: Sequence[int] | None
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._window = window
        self._models = models

    def read(self, levels: Sequence[int] = LEVELS) -> Iterator[Row]:
        """All of them."""
        since_us, until_us = self._window
        if since_us >= until_us or self._models == []:
            return
        # As they stand in the file: in the order of an index there are many others between.
        yield from self._read_rows(self._progress.waiting, "+", since_us, until_us)
        start, end = self._whole_minutes()
        if start > end:
            yield from self._read_rows(self._progress.rolled_up, "", since_us, until_us)
            return
        yield from self._read_rows(self._progress.rolled_up, "", since_us, start * MINUTE_US)
        yield from self._read_rows(self._progress.rolled_up, "", end * MINUTE_US, until_us)
        for segment in self._progress.segments(start, end, levels):
            yield from self._read_segment(segment)

    def _whole_minutes(self) -> tuple[int, int]:
        """The first and the one after the last; that in which the window ends counts, if nothing in it is later."""
        since_us, until_us = self._window
        start, end = -(-since_us // MINUTE_US), until_us // MINUTE_US
        if start <= end and end * MINUTE_US < until_us and self._last_us(end) < until_us:
            end += 1
        return start, end

    def _last_us(self, minute: int) -> int:
        """When the last of what is rolled up of a minute was accepted; 0 for nothing."""
        models, arguments = self._condition("model")
        table = Table(LEVELS[0])
        query = f"""SELECT COALESCE(MAX(last_timestamp_us), 0) FROM {table.name}
        WHERE {table.block} = ? AND bucket = ? AND {models}"""
        last_us: int = self._connection.execute(query, (table.block_of(minute), minute, *arguments)).fetchone()[0]
        return last_us

    def _read_segment(self, segment: Segment) -> Iterator[Row]:
        table = Table(segment.level)
        bounds: dict[str, int | str] = {**table.bounds(segment)}
        if self._models is None:
            query = f"SELECT {SUMMARY} FROM {table.name} WHERE {table.within()} AND model > {ALL_MODELS}"
        else:
            query = _OF_SOME.format(table=table)
            bounds["blocks"] = table.list_blocks(self._connection, segment, MAX_LISTED_BLOCKS)
            bounds["models"] = json.dumps(self._models)
        yield from self._connection.execute(query, bounds)

    def _read_rows(self, which: Condition, no_index: str, since_us: int, until_us: int) -> Iterator[Row]:
        """Rows of a part of the window, added up."""
        if since_us >= until_us:
            return
        where = f"{which[0]} AND {no_index}timestamp_us >= ? AND {no_index}timestamp_us < ?"
        arguments = [*which[1], since_us, until_us]
        columns = READ_ROLLED_UP
        if self._models == [ALL_MODELS]:
            columns = columns.replace(" model,", f" {ALL_MODELS},")
        else:
            models, more = self._condition(f"{no_index}model")
            where, arguments = f"{where} AND {models}", [*arguments, *more]
        found = self._connection.execute(f"SELECT {columns} FROM invocations WHERE {where}", arguments)
        while rows := found.fetchmany(ROWS_AT_ONCE):
            yield from summarize(rows)

    def _condition(self, column: str) -> Condition:
        if self._models is None:
            return f"{column} > {ALL_MODELS}", ()
        return f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(self._models),)
