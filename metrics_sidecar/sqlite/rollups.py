"""Rollups in the SQLite ledger: a table per level, how far they are, and what rows add up to.

Rows up to `last_id` are rolled up, in the same transaction in which this is noted; who reads counts those beyond
it from the rows. So rollups and rows are the same at each moment, whatever dies when. Rows that were there before
there were rollups (`older_…`) are rolled up beside it.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.windows import DAY, HOUR, MINUTE_US, Window, align
from metrics_sidecar.sqlite.buckets import COLUMNS, LEVELS, Segment, cover

Value = int | str | bytearray
Condition = tuple[str, tuple[Value, ...]]
"""A term of SQL and its arguments."""

SUMMARY = ", ".join(COLUMNS)
BLOCK_MINUTES = 10

# From one block that is there to the next, so that neither empty ones nor other models' rows are read.
_LIST_EXISTING = """
WITH RECURSIVE found (start) AS (
    SELECT MIN({table.block}) FROM {table.name} WHERE {table.block} >= :first AND {table.block} < :end
    UNION ALL
    SELECT (SELECT MIN({table.block}) FROM {table.name} WHERE {table.block} > start AND {table.block} < :end)
    FROM found WHERE start IS NOT NULL
)
SELECT json_group_array(start) FROM found WHERE start IS NOT NULL"""


class Progress(NamedTuple):
    """Which rows are rolled up: those beyond `older_end_id` up to `last_id`, and those up to `older_id`. `built`: up
    to which minute a level above the first has everything. `kept`: from when on there are rows and buckets."""

    last_id: int
    older_id: int
    older_end_id: int
    built: Mapping[int, int]
    kept: Kept

    @property
    def is_complete(self) -> bool:
        return self.older_id == self.older_end_id

    @property
    def waiting(self) -> Condition:
        """Rows that are not in the rollups yet."""
        return "id > ?", (self.last_id,)

    @property
    def rolled_up(self) -> Condition:
        """All others."""
        return "+id <= ?", (self.last_id,)

    def round(self, window: Window) -> Window:
        """The window as far as it can still be told: older ends are moved outwards to whole minutes, hours or days."""
        since_us, until_us = window
        return Window(
            align(window, self._grain_us(since_us)).since_us,
            align(window, self._grain_us(until_us)).until_us,
        )

    def segments(self, start: int, end: int, levels: Sequence[int] = LEVELS) -> list[Segment]:
        """The fewest buckets that make up these minutes. What is no longer kept by minutes, and then by hours, must
        begin and end with what is."""
        found: list[Segment] = []
        for finest, begin, finish in (
            (DAY, start, min(end, self.kept.hours)),
            (HOUR, max(start, self.kept.hours), min(end, self.kept.minutes)),
            (LEVELS[0], max(start, self.kept.minutes), end),
        ):
            found += cover(begin, finish, self.built, [level for level in levels if level >= finest])
        return found

    def _grain_us(self, moment_us: int) -> int:
        if moment_us >= self.kept.rows * MINUTE_US:
            return 1
        grains = ((self.kept.minutes, LEVELS[0]), (self.kept.hours, HOUR), (0, DAY))
        return next(grain for kept_from, grain in grains if moment_us >= kept_from * MINUTE_US) * MINUTE_US


class Table(NamedTuple):
    """The table of a level. Its key begins with the block and the model: buckets of one model that lie in the same
    block are side by side. A block is one bucket, but of the first level ten: a day of one model is 144 places there,
    not 1,440, and one minute of all models still not far apart."""

    level: int

    @property
    def name(self) -> str:
        return f"rollups_{self.level}"

    @property
    def block(self) -> str:
        """The column that tells where a block begins."""
        return "bucket" if self.level > LEVELS[0] else "block"

    @property
    def key(self) -> str:
        return "bucket, model" if self.level > LEVELS[0] else "block, model, bucket"

    @property
    def block_length(self) -> int:
        """In minutes."""
        return self.level if self.level > LEVELS[0] else BLOCK_MINUTES

    def block_of(self, minute: int) -> int:
        return minute // self.block_length * self.block_length

    def list_blocks(self, connection: sqlite3.Connection, segment: Segment, most: int) -> str:
        """Those of a segment as JSON; of more than `most`, those that there are: of long ago there are none."""
        blocks = range(self.block_of(segment.start), segment.end, self.block_length)
        if len(blocks) <= most:
            return json.dumps([*blocks])
        found: str = connection.execute(_LIST_EXISTING.format(table=self), self.bounds(segment)).fetchone()[0]
        return found

    def within(self) -> str:
        """The condition of a segment's buckets, whose arguments are `bounds`."""
        return f"{self.block} >= :first AND {self.block} < :end AND bucket >= :start AND bucket < :end"

    def bounds(self, segment: Segment) -> dict[str, int]:
        _, start, end = segment
        return {"first": self.block_of(start), "start": start, "end": end}


def read_progress(connection: sqlite3.Connection) -> Progress:
    last_id, older_id, older_end_id, rows_from = connection.execute(
        "SELECT last_id, older_id, older_end_id, rows_from FROM rollup_progress"
    ).fetchone()
    levels = connection.execute("SELECT level, bucket, kept_from FROM rollup_levels").fetchall()
    built = {level: bucket for level, bucket, _ in levels if level > LEVELS[0]}
    kept_from = {level: kept_from for level, _, kept_from in levels}
    kept = Kept(rows_from, kept_from[LEVELS[0]], kept_from[HOUR], kept_from[DAY])
    return Progress(last_id, older_id, older_end_id, built, kept)
