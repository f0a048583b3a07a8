"""Keeps the rollups up to date, between the commits of rows.

Rows go into the first level, and into what the larger levels have of their minutes already. These are built from the
smaller buckets once they are over, and so the last bucket of each level grows until it is full. A step is one
transaction of some ten milliseconds: commits wait for it, and no caller does.
"""

import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.sqlite.buckets import ALL_MODELS, COLUMNS, LEVELS, Group, Row, Segment, combine
from metrics_sidecar.sqlite.rollups import SUMMARY, Progress, Table, read_progress
from metrics_sidecar.sqlite.summaries import READ_ROLLED_UP, summarize
from metrics_sidecar.sqlite.transactions import transaction

MAX_WAITING_ROWS, MIN_WAITING_ROWS = 32_768, 4096
ROWS_PER_GROUP, ROWS_PER_GROUP_BUSY = 4, 64
"""So many rows are rolled up at once: few enough to add up those that wait whenever they are asked for; and, while
records come in as fast as they can, enough of each model to make it cheap."""
MAX_WAITING_MODELS = 2000
MAX_HELD_FAILURES = 4096  # of 2 KiB
ROWS_READ_AT_ONCE, SPREAD_ROWS_AT_ONCE = 8192, 1024
"""Of those that are not at hand; of a long time they are as many buckets as rows."""
MAX_SPAN_MINUTES = 120
MAX_WAIT_US = MINUTE_US
GRACE_MINUTES = 1
"""How long after its end a bucket is taken for complete; later records are added to it."""

InvocationRow = tuple[Any, ...]

_READ_ROWS = f"""
SELECT {READ_ROLLED_UP} FROM invocations
WHERE id > ? AND id <= ? ORDER BY id LIMIT ?
"""


class Held:
    """Rows that were committed and are not rolled up yet: kept for that, unless they are too many."""

    def __init__(self) -> None:
        self.count = 0
        self.models: set[int] = set()
        self._rows: list[InvocationRow] | None = []
        self._failure_count = 0

    def add(self, models: Iterable[int], rows: Sequence[InvocationRow], failure_count: int) -> None:
        self.count += len(rows)
        self.models.update(models)
        self._failure_count += failure_count
        if self._failure_count > MAX_HELD_FAILURES or self.count > 2 * MAX_WAITING_ROWS:
            self._rows = None
        elif self._rows is not None:
            self._rows += rows

    def all_of(self, count: int) -> Sequence[InvocationRow] | None:
        """All rows, if they are so many: those that wait may have come before this process."""
        return self._rows if self.count == count else None


class RollupWriter:
    """Rolls up what commits have added. Uses the connection that they use, between them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._progress = read_progress(connection)
        self._held = Held()
        self._due_id = 0
        self._waiting_since_us: int | None = None
        self._finish_models()

    def read_progress(self) -> None:
        """It was changed by others: what waited is among the older rows now."""
        self._progress = read_progress(self._connection)
        self._held = Held()

    def added(self, models: Iterable[int], rows: Sequence[InvocationRow], failure_count: int) -> None:
        """Rows of these models were committed."""
        self._held.add(models, rows, failure_count)

    @property
    def progress(self) -> Progress:
        return self._progress

    def keep(self, kept: Kept) -> None:
        """No more than this, from now on."""
        then = self._progress._replace(kept=kept)
        with transaction(self._connection):
            self._note(then)
        self._progress = then

    def step(self, last_id: int, now_us: int, *, busy: bool = False) -> bool:
        """One step of what there is to do; False if there was nothing. `last_id` is the newest row's."""
        progress = self._progress
        if self._is_due(last_id, now_us, busy=busy):
            self._due_id = last_id  # which may take several steps
            self._waiting_since_us = None
            held, self._held = self._held.all_of(last_id - progress.last_id), Held()
            if held is None:
                self._roll_up(*self._read(progress.last_id, last_id))
            else:
                self._roll_up(held, last_id)
            return True
        if not progress.is_complete:
            self._roll_up(*self._read(progress.older_id, progress.older_end_id))
            return True
        now = now_us // MINUTE_US - GRACE_MINUTES
        return any(self._build(level, lower, now) for lower, level in itertools.pairwise(LEVELS))

    def add(self, level: int, rows: Iterable[Row]) -> None:
        """Add smaller buckets, or as large ones, to what there is, or begin it."""
        execute = self._connection.execute
        table = Table(level)
        (newest,) = execute(f"SELECT MAX({table.block}) FROM {table.name}").fetchone()
        query = f"SELECT {SUMMARY} FROM {table.name} WHERE {table.block} = ? AND model = ? AND bucket = ?"
        groups: dict[Group, list[Row]] = defaultdict(list)
        for row in rows:
            groups[row[0] // level * level, row[1]].append(row)
        added: list[tuple[Any, ...]] = []
        for (bucket, model), parts in groups.items():
            block = table.block_of(bucket)
            known = None if newest is None or block > newest else execute(query, (block, model, bucket)).fetchone()
            row = combine((bucket, model), [*parts, known] if known else parts)
            added.append(row if table.block in COLUMNS else (block, *row))
        columns = COLUMNS if table.block in COLUMNS else (table.block, *COLUMNS)
        query = f"INSERT OR REPLACE INTO {table.name} ({', '.join(columns)}) VALUES (?{', ?' * (len(columns) - 1)})"
        self._connection.executemany(query, added)

    def _is_due(self, last_id: int, now_us: int, *, busy: bool) -> bool:
        """Whether rows that wait are enough, of many models, or have waited for long, however few they are."""
        waiting, models = last_id - self._progress.last_id, len(self._held.models)
        if not waiting:
            self._waiting_since_us = None
            return False
        if self._waiting_since_us is None:
            self._waiting_since_us = now_us
        per_group = ROWS_PER_GROUP_BUSY if busy else ROWS_PER_GROUP
        return (
            waiting >= min(max(MIN_WAITING_ROWS, per_group * models), MAX_WAITING_ROWS)
            or now_us - self._waiting_since_us > MAX_WAIT_US
            or models >= MAX_WAITING_MODELS
            or self._progress.last_id < self._due_id
        )

    def _read(self, after_id: int, last_id: int) -> tuple[list[InvocationRow], int]:
        """The next rows up to the last one, and up to which id these are all."""
        rows = self._connection.execute(_READ_ROWS, (after_id, last_id, ROWS_READ_AT_ONCE)).fetchall()
        times_us = [row[2] for row in rows] or [0]
        is_cut = len(rows) == ROWS_READ_AT_ONCE
        if len(rows) > SPREAD_ROWS_AT_ONCE and max(times_us) - min(times_us) > MAX_SPAN_MINUTES * MINUTE_US:
            rows, is_cut = rows[:SPREAD_ROWS_AT_ONCE], True
        return rows, rows[-1][0] if is_cut else last_id

    def _roll_up(self, rows: Sequence[InvocationRow], until_id: int, done_model: int = 0) -> None:
        """All rows up to an id; those of models up to `done_model` are in their rollups already."""
        found = summarize(rows)
        minutes: dict[int, list[Row]] = defaultdict(list)
        for bucket in found:
            minutes[bucket[0]].append(bucket)
        found = [bucket for bucket in found if bucket[1] > done_model]
        found += [combine((minute, ALL_MODELS), parts) for minute, parts in minutes.items()]
        # All newer ones have greater ids than those that were there before there were rollups.
        is_older = until_id <= self._progress.older_end_id
        then = self._progress._replace(older_id=until_id) if is_older else self._progress._replace(last_id=until_id)
        with transaction(self._connection):
            self.add(LEVELS[0], found)
            for level, built in self._progress.built.items():
                self.add(level, (bucket for bucket in found if bucket[0] < built))
            self._note(then)
        self._progress = then

    def _finish_models(self) -> None:
        """An earlier release rolled up rows for some models and then for others, and may have ended in between."""
        query = "SELECT ahead_id, ahead_model FROM rollup_progress"
        ahead_id, ahead_model = self._connection.execute(query).fetchone()
        if ahead_model:
            is_older = ahead_id <= self._progress.older_end_id
            first_id = self._progress.older_id if is_older else self._progress.last_id
            rows = self._connection.execute(_READ_ROWS, (first_id, ahead_id, -1)).fetchall()
            self._roll_up(rows, ahead_id, ahead_model)

    def _build(self, level: int, lower: int, now: int) -> bool:
        """Add the next block of smaller buckets to those of this level, once it is complete; False if there is none."""
        built, table = self._progress.built[level], Table(lower)
        complete = table.block_of(self._progress.built.get(lower, now))
        if built >= complete:
            return False
        query = f"SELECT MIN({table.block}) FROM {table.name} WHERE {table.block} >= ? AND {table.block} < ?"
        (block,) = self._connection.execute(query, (table.block_of(built), complete)).fetchone()
        until = complete if block is None else block + table.block_length
        then = self._progress._replace(built={**self._progress.built, level: until})
        with transaction(self._connection):
            if block is not None:
                bounds = table.bounds(Segment(lower, max(block, built), until))
                query = f"SELECT {SUMMARY} FROM {table.name} WHERE {table.within()}"
                self.add(level, self._connection.execute(query, bounds).fetchall())
            self._note(then)
        self._progress = then
        return True

    def _note(self, progress: Progress) -> None:
        """Within a transaction: this is how far it is."""
        self._connection.execute(
            "UPDATE rollup_progress SET last_id = ?, older_id = ?, rows_from = ?, ahead_id = 0, ahead_model = 0",
            (progress.last_id, progress.older_id, progress.kept.rows),
        )
        self._connection.executemany(
            "UPDATE rollup_levels SET bucket = ?, kept_from = ? WHERE level = ?",
            ((progress.built.get(level, 0), kept_from, level) for level, kept_from in progress.kept.levels.items()),
        )
