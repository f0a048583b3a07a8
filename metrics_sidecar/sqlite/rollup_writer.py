"""Keeps the rollups up to date, in slices of some milliseconds, between the commits of rows.

Rows go into the first level, and into what the larger levels have of their minutes already. These are built from the
smaller buckets once they are over, and so the last bucket of each level grows until it is full.
"""

import itertools
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.rollups import ALL_MODELS, COLUMNS, LEVELS, MINUTE_US, Group, Row, combine_rows
from metrics_sidecar.sqlite.rollups import SUMMARY, Built, Progress, Table, read_progress
from metrics_sidecar.sqlite.summaries import summarize_rows
from metrics_sidecar.sqlite.transactions import transaction

MAX_WAITING_ROWS, MIN_WAITING_ROWS = 65_536, 4096
ROWS_PER_GROUP, ROWS_PER_GROUP_BUSY = 4, 64
"""So many rows are rolled up at once: few enough to add up those that wait whenever they are asked for; and, while
records come in as fast as they can, enough of each model to make it cheap."""
MAX_WAITING_MODELS = 2000
MAX_HELD_FAILURES = 4096  # of 2 KiB
ROWS_READ_AT_ONCE = 1024
GROUPS_AT_ONCE = MODELS_AT_ONCE = 64
"""A slice: two to three milliseconds."""
GROUPS_AT_ONCE_BUSY = 512
MAX_SPAN_MINUTES = 120
MAX_WAIT_US = MINUTE_US
GRACE_MINUTES = 1
"""How long after its end a bucket is taken for complete; later records are added to it."""

InvocationRow = tuple[Any, ...]

_INVOCATION = "id, model, timestamp_us, latency_us, input_size, output_size, error_type"


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


class Job:
    """Rows of a range of ids that are being rolled up, a few models at a time, and all models together at the end.
    Where they are not at hand they are read first, some at a time."""

    def __init__(
        self, first_id: int, until_id: int, rows: Sequence[InvocationRow] | None = None, *, done_model: int = 0
    ) -> None:
        """`done_model`: up to this model it was done before."""
        self.until_id = until_id
        self._next_id = first_id if rows is None else until_id + 1
        self._by_model: dict[int, list[InvocationRow]] = defaultdict(list)
        self._add(rows or ())
        self._done_model = done_model
        self._models: Iterator[tuple[int, list[InvocationRow]]] | None = None
        self._together: dict[int, Row] = {}

    @property
    def is_read(self) -> bool:
        return self._next_id > self.until_id

    def read(self, connection: sqlite3.Connection) -> None:
        """Read some more rows. Those of a long time are as many buckets: then there is no more to read."""
        last_id = min(self._next_id + ROWS_READ_AT_ONCE - 1, self.until_id)
        query = f"SELECT {_INVOCATION} FROM invocations WHERE id BETWEEN ? AND ?"
        rows = connection.execute(query, (self._next_id, last_id)).fetchall()
        self._add(rows)
        self._next_id = last_id + 1
        times_us = [row[2] for row in rows] or [0]
        if not self._done_model and max(times_us) - min(times_us) > MAX_SPAN_MINUTES * MINUTE_US:
            self.until_id = last_id

    def next_models(self, groups: int) -> tuple[int, list[Row]]:
        """What rows of the next models add up to by minute, so many groups or more, and the number of the last one; 0
        after the last."""
        if self._models is None:
            self._models = iter(sorted(self._by_model.items()))
        model = 0
        found: list[Row] = []
        while len(found) < groups and (some := next(self._models, None)):
            model, rows = some
            found += summarize_rows(rows)
        for (minute, _), parts in _by_group(found, LEVELS[0], together=True).items():
            before = self._together.get(minute)
            self._together[minute] = combine_rows((minute, ALL_MODELS), [before, *parts] if before else parts)
        return model, [row for row in found if row[1] > self._done_model]

    def together(self) -> list[Row]:
        """The same of all models, once they are through."""
        return [*self._together.values()]

    def _add(self, rows: Iterable[InvocationRow]) -> None:
        by_model = self._by_model
        for row in rows:
            by_model[row[1]].append(row)


class RollupWriter:
    """Rolls up what commits have added, a slice at a time. Uses the connection that they use, between them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._progress = read_progress(connection)
        self._held = Held()
        self._job: Job | None = None
        self._due_id = 0
        self._waiting_since_us: int | None = None

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
        """One slice of what there is to do, as a transaction of its own; False if there was nothing. `last_id`
        is the newest row's."""
        job, self._job = self._job or self._next_job(last_id, now_us, busy=busy), None
        if job is not None and not job.is_read:
            job.read(self._connection)
            self._job = job
            return True
        if job is not None:
            groups = GROUPS_AT_ONCE_BUSY if busy else GROUPS_AT_ONCE
            if self._roll_up(job, groups):
                self._job = job  # none if it failed: then it is read again
            return True
        now = now_us // MINUTE_US - GRACE_MINUTES
        return any(self._build(level, lower, now) for lower, level in itertools.pairwise(LEVELS))

    def finish(self) -> None:
        """Roll up for all models what is for some."""
        while self._progress.ahead_model:
            self.step(self._progress.ahead_id, 0)

    def _next_job(self, last_id: int, now_us: int, *, busy: bool) -> Job | None:
        progress = self._progress
        if progress.ahead_model:  # a process before this one has died in the middle
            first_id = progress.older_id if self._is_older(progress.ahead_id) else progress.last_id
            return Job(first_id + 1, progress.ahead_id, done_model=progress.ahead_model)
        waiting, models = last_id - progress.last_id, len(self._held.models)
        per_group = ROWS_PER_GROUP_BUSY if busy else ROWS_PER_GROUP
        due = min(max(MIN_WAITING_ROWS, per_group * models), MAX_WAITING_ROWS)
        if (
            waiting >= due
            or self._is_late(waiting, now_us)
            or (waiting and models >= MAX_WAITING_MODELS)
            or progress.last_id < self._due_id
        ):
            self._due_id = last_id  # which may take several jobs
            self._waiting_since_us = None
            held, self._held = self._held.all_of(waiting), Held()
            until_id = last_id if held is not None else min(last_id, progress.last_id + MAX_WAITING_ROWS)
            return Job(progress.last_id + 1, until_id, held)
        if not progress.is_complete:
            until_id = min(progress.older_end_id, progress.older_id + MAX_WAITING_ROWS)
            return Job(progress.older_id + 1, until_id)
        return None

    def _is_late(self, waiting: int, now_us: int) -> bool:
        """Whether any row has waited for long, however few there are."""
        if not waiting:
            self._waiting_since_us = None
        elif self._waiting_since_us is None:
            self._waiting_since_us = now_us
        return waiting > 0 and now_us - (self._waiting_since_us or now_us) > MAX_WAIT_US

    def _is_older(self, row_id: int) -> bool:
        """Whether the row was there before there were rollups: all newer ones have greater ids."""
        return row_id <= self._progress.older_end_id

    def _roll_up(self, job: Job, groups: int) -> bool:
        """The next models; or all together, and then False: that was the end."""
        model, rows = job.next_models(groups)
        if model:
            then = self._progress._replace(ahead_id=job.until_id, ahead_model=max(model, self._progress.ahead_model))
        else:
            rows = job.together()
            then = self._progress._replace(ahead_id=0, ahead_model=0)
            if self._is_older(job.until_id):
                then = then._replace(older_id=job.until_id)
            else:
                then = then._replace(last_id=job.until_id)
        with transaction(self._connection):
            self.add(LEVELS[0], _by_group(rows, LEVELS[0]))
            for level, built in self._progress.built.items():
                self.add(level, _by_group((row for row in rows if row[0] < built.before(row[1])), level))
            self._note(then)
        self._progress = then
        return model > 0

    def _build(self, level: int, lower: int, now: int) -> bool:
        """Add some models' smaller buckets to theirs of this level, once they are complete; False if there are none."""
        built = self._progress.built[level]
        lower_built = self._progress.built.get(lower)
        complete = (lower_built.minute if lower_built else now) // lower * lower
        if built.model < 0 and built.minute >= complete:
            return False
        with transaction(self._connection):
            if built.model < 0:
                built = self._next_built(level, lower, built.minute, complete)
            if built.minute < built.until:
                built = self._build_models(level, lower, built)
            then = self._progress._replace(built={**self._progress.built, level: built})
            self._note(then)
        self._progress = then
        return True

    def _next_built(self, level: int, lower: int, minute: int, complete: int) -> Built:
        """What to build next: from the next minute that has anything on, a whole bucket or what of it is complete."""
        table = Table(lower)
        query = f"SELECT MIN({table.block}) FROM {table.name} WHERE {table.block} >= ? AND {table.block} < ?"
        (block,) = self._connection.execute(query, (table.block_of(minute), complete)).fetchone()
        if block is None:
            return Built(complete)
        start = max(block, minute)
        return Built(start, -1, min(complete, (start // level + 1) * level))

    def _build_models(self, level: int, lower: int, built: Built) -> Built:
        """One slice of models; how far the level is then."""
        execute = self._connection.execute
        table = Table(lower)
        blocks = json.dumps([*table.blocks(built.minute, built.until)])
        (first,) = execute(
            f"""SELECT MIN((SELECT MIN(model) FROM {table.name} WHERE {table.block} = value AND model > ?))
            FROM json_each(?)""",
            (built.model, blocks),
        ).fetchone()
        if first is None:
            return Built(built.until)
        last = first + MODELS_AT_ONCE - 1
        rows = execute(
            f"""SELECT {SUMMARY} FROM json_each(?) CROSS JOIN {table.name}
            WHERE {table.block} = value AND model BETWEEN ? AND ? AND bucket >= ? AND bucket < ?""",
            (blocks, first, last, built.minute, built.until),
        ).fetchall()
        if built.minute % level:  # there is a part of it already
            query = f"SELECT {SUMMARY} FROM {Table(level).name} WHERE bucket = ? AND model BETWEEN ? AND ?"
            rows += execute(query, (built.minute // level * level, first, last))
        groups = _by_group(rows, level)
        self._put(level, [combine_rows(group, parts) for group, parts in groups.items()])
        return built._replace(model=last)

    def add(self, level: int, groups: Mapping[Group, Sequence[Row]]) -> None:
        """Add to what there is, or begin it."""
        execute = self._connection.execute
        table = Table(level)
        (newest,) = execute(f"SELECT MAX({table.block}) FROM {table.name}").fetchone()
        query = f"SELECT {SUMMARY} FROM {table.name} WHERE {table.block} = ? AND model = ? AND bucket = ?"
        rows: list[Row] = []
        for (bucket, model), parts in groups.items():
            block = table.block_of(bucket)
            known = None if newest is None or block > newest else execute(query, (block, model, bucket)).fetchone()
            rows.append(combine_rows((bucket, model), [*parts, known] if known else parts))
        self._put(level, rows)

    def _put(self, level: int, rows: Iterable[Row]) -> None:
        table = Table(level)
        columns: tuple[str, ...] = COLUMNS
        values: Iterable[tuple[Any, ...]] = rows
        if table.block not in columns:
            columns = (table.block, *columns)
            values = ((table.block_of(row[0]), *row) for row in rows)
        marks = ", ".join("?" for _ in columns)
        query = f"INSERT OR REPLACE INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"
        self._connection.executemany(query, values)

    def _note(self, progress: Progress) -> None:
        self._connection.execute(
            "UPDATE rollup_progress SET last_id = ?, older_id = ?, ahead_id = ?, ahead_model = ?, rows_from = ?",
            (
                progress.last_id,
                progress.older_id,
                progress.ahead_id,
                progress.ahead_model,
                progress.kept.rows,
            ),
        )
        first = Built(0)
        self._connection.executemany(
            "UPDATE rollup_levels SET bucket = ?, model = ?, until = ?, kept_from = ? WHERE level = ?",
            (
                (*progress.built.get(level, first), kept_from, level)
                for level, kept_from in progress.kept.levels.items()
                if progress.built.get(level) != self._progress.built.get(level) or progress.kept != self._progress.kept
            ),
        )


def _by_group(rows: Iterable[Row], level: int, *, together: bool = False) -> dict[Group, list[Row]]:
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        group = (row[0] // level * level, ALL_MODELS if together else row[1])
        groups.setdefault(group, []).append(row)
    return groups
