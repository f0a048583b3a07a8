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
from metrics_sidecar.history.rollups import (
    COLUMNS,
    DAY,
    HOUR,
    LEVELS,
    MINUTE_US,
    Segment,
    cover,
)
from metrics_sidecar.history.windows import Window, align

Value = int | str
Condition = tuple[str, tuple[Value, ...]]
"""A term of SQL and its arguments."""

SUMMARY = ", ".join(COLUMNS)

# From one block that is there to the next, so that neither empty ones nor other models' rows are read.
EXISTING_BLOCKS = """
WITH RECURSIVE found (start) AS (
    SELECT MIN({table.block}) FROM {table.name} WHERE {table.block} >= :first AND {table.block} < :end
    UNION ALL
    SELECT (SELECT MIN({table.block}) FROM {table.name} WHERE {table.block} > start AND {table.block} < :end)
    FROM found WHERE start IS NOT NULL
)"""
_LIST_EXISTING = f"{EXISTING_BLOCKS} SELECT json_group_array(start) FROM found WHERE start IS NOT NULL"


class Built(NamedTuple):
    """How far a level is: it has everything before `minute`. While it is built further, it has everything before
    `until` of models up to `model`, which is -1 otherwise."""

    minute: int
    model: int = -1
    until: int = 0

    def before(self, model: int) -> int:
        """Up to which minute it has everything of this model."""
        return self.until if model <= self.model else self.minute


class Progress(NamedTuple):
    """Which rows are rolled up: those beyond `older_end_id` up to `last_id`, and those up to `older_id`. While more are
    being rolled up, those up to `ahead_id` are, too, of models up to `ahead_model`, which is 0 otherwise.
    `built`: how far the levels above the first are. `kept`: from when on there are rows and buckets."""

    last_id: int
    older_id: int
    older_end_id: int
    ahead_id: int
    ahead_model: int
    built: Mapping[int, Built]
    kept: Kept

    @property
    def is_complete(self) -> bool:
        return self.older_id == self.older_end_id

    @property
    def built_until(self) -> dict[int, int]:
        """Level → the minute up to which it can be read. While its last bucket has more of some models than of
        others, to where this bucket begins."""
        return {
            level: built.minute if built.model < 0 else built.minute // level * level
            for level, built in self.built.items()
        }

    def waiting(self, *, together: bool) -> Condition:
        """Rows that are not in the rollups of their models yet, or not in those of all models together."""
        if together or not self.ahead_model:
            return "id > ?", (self.last_id,)
        return "id > ? AND (model > ? OR id > ?)", (self.last_id, self.ahead_model, self.ahead_id)

    def rolled_up(self, *, together: bool) -> Condition:
        """All others."""
        if together or not self.ahead_model:
            return "+id <= ?", (self.last_id,)
        return "+id <= CASE WHEN model > ? THEN ? ELSE ? END", (self.ahead_model, self.last_id, self.ahead_id)

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
            found += cover(begin, finish, self.built_until, [level for level in levels if level >= finest])
        return found

    def signed_segments(self, start: int, end: int) -> list[tuple[int, Segment]]:
        """What adds up to these minutes, `start` before `end`, each with its sign: the larger buckets between what is
        nearest to both ends, and the smaller ones that these are short of or beyond. About half as many."""
        if start < self.kept.minutes:
            return [(1, segment) for segment in self.segments(start, end)]
        return _cover_nearly(start, end, self, LEVELS)

    def _grain_us(self, moment_us: int) -> int:
        if moment_us >= self.kept.rows * MINUTE_US:
            return 1
        grains = ((self.kept.minutes, LEVELS[0]), (self.kept.hours, HOUR), (0, DAY))
        return next(grain for kept_from, grain in grains if moment_us >= kept_from * MINUTE_US) * MINUTE_US


def nearest(value: int, step: int) -> int:
    """The multiple of a step that is nearest to a value."""
    return (value + step // 2) // step * step


def _cover_nearly(start: int, end: int, progress: Progress, levels: Sequence[int]) -> list[tuple[int, Segment]]:
    """Nothing before what is kept by minutes is taken."""
    level, *larger = levels
    if larger:
        near_start = nearest(start, larger[0])
        near_end = min(nearest(end, larger[0]), progress.built_until[larger[0]])
        if near_start < progress.kept.minutes:
            near_start += larger[0]
        if near_start < near_end:
            ends = [*_signed(level, start, near_start), *_signed(level, near_end, end)]
            return [*ends, *_cover_nearly(near_start, near_end, progress, larger)]
    return [(1, Segment(level, start, end))]


def _signed(level: int, start: int, end: int) -> list[tuple[int, Segment]]:
    if start == end:
        return []
    return [(1, Segment(level, start, end)) if start < end else (-1, Segment(level, end, start))]


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
    def counts_index(self) -> str:
        """Of its counts alone, as part of a join: there are 250 of them in a page, beside 15 of the rows. Not of the
        first level, whose rows are small and change most often."""
        return f"INDEXED BY counts_{self.level}" if self.level > LEVELS[0] else ""

    @property
    def block_length(self) -> int:
        """In minutes."""
        return self.level if self.level > LEVELS[0] else LEVELS[1]

    def block_of(self, minute: int) -> int:
        return minute // self.block_length * self.block_length

    def blocks(self, start: int, end: int) -> range:
        """All that have any of these minutes."""
        return range(self.block_of(start), end, self.block_length)

    def list_blocks(self, connection: sqlite3.Connection, segment: Segment, most: int) -> str:
        """Those of a segment as JSON; of more than `most`, those that there are: of long ago there are none."""
        blocks = self.blocks(segment.start, segment.end)
        if len(blocks) <= most:
            return json.dumps([*blocks])
        found: str = connection.execute(_LIST_EXISTING.format(table=self), self.bounds(segment)).fetchone()[0]
        return found

    def within(self, mark: str = "") -> str:
        """The condition of a segment's buckets. `mark` tells its `bounds` from others'."""
        bounds = ((self.block, "first"), ("bucket", "start"))
        return " AND ".join(f"{column} >= :{first}{mark} AND {column} < :end{mark}" for column, first in bounds)

    def bounds(self, segment: Segment, mark: str = "") -> dict[str, int]:
        """The arguments of `within`, and of `EXISTING_BLOCKS`."""
        _, start, end = segment
        return {f"first{mark}": self.block_of(start), f"start{mark}": start, f"end{mark}": end}


def read_progress(connection: sqlite3.Connection) -> Progress:
    last_id, older_id, older_end_id, ahead_id, ahead_model, rows_from = connection.execute(
        "SELECT last_id, older_id, older_end_id, ahead_id, ahead_model, rows_from FROM rollup_progress"
    ).fetchone()
    levels = connection.execute("SELECT level, bucket, model, until, kept_from FROM rollup_levels").fetchall()
    built = {level: Built(*how_far) for level, *how_far, _ in levels if level > LEVELS[0]}
    kept_from = {level: kept_from for level, *_, kept_from in levels}
    kept = Kept(rows_from, kept_from[LEVELS[0]], kept_from[HOUR], kept_from[DAY])
    return Progress(last_id, older_id, older_end_id, ahead_id, ahead_model, built, kept)
