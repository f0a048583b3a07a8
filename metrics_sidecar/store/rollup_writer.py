"""Keeps the rollups up to date, in slices, between the commits of rows.

A row goes into the first level, and into each larger bucket that is built already. The others are built from the
smaller buckets once they are over.
"""

import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metrics_sidecar.rollups import ALL_MODELS, COLUMNS, DAY, HOUR, LEVELS, MINUTE_US, Group, Row, combine_rows
from metrics_sidecar.store.rollups import SUMMARY, Progress, read_progress, summarize, summarize_rows, table
from metrics_sidecar.store.transactions import transaction

MAX_WAITING_ROWS, MIN_WAITING_ROWS = 65_536, 4096
ROWS_PER_GROUP, ROWS_PER_GROUP_BUSY = 16, 64
"""So many rows are rolled up at once: enough of each model to make it cheap, few enough to count those that wait
when they are asked for."""
MAX_WAITING_MODELS = 2000
MAX_HELD_FAILURES = 4096  # of 2 KiB
OLDER_ROWS_AT_ONCE = 8192
MODELS_AT_ONCE = 100
GRACE_MINUTES = 2
"""How long after its end a bucket is taken for complete; later records are added to it."""


class RollupWriter:
    """Rolls up what commits have added, a slice at a time. Uses the connection that they use, between them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._progress = read_progress(connection)
        self._models: set[int] = set()
        self._rows: list[tuple[Any, ...]] | None = []
        self._failure_count = 0

    def added(self, models: Iterable[int], rows: Sequence[tuple[Any, ...]], failure_count: int) -> None:
        """Rows of these models were committed: held here until they are rolled up, if not too much text is."""
        self._models.update(models)
        self._failure_count += failure_count
        if self._failure_count > MAX_HELD_FAILURES:
            self._rows = None
        elif self._rows is not None:
            self._rows += rows

    @property
    def progress(self) -> Progress:
        return self._progress

    def keep_from(self, rows_from: int, hours_from: int) -> None:
        """From now on rows, and buckets shorter than an hour, are kept from this minute on, and those shorter than a
        day from the other, which is no later."""
        kept_from = {level: rows_from if level < HOUR else hours_from for level in LEVELS if level < DAY}
        then = self._progress._replace(kept_from={**self._progress.kept_from, **kept_from})
        with transaction(self._connection):
            self._note(then)
        self._progress = then

    def step(self, last_id: int, now_us: int, *, busy: bool = False) -> bool:
        """One slice of what there is to do, as a transaction of its own; False if there was nothing. `last_id`
        is the newest row's."""
        progress = self._progress
        waiting = last_id - progress.last_id
        per_group = ROWS_PER_GROUP_BUSY if busy else ROWS_PER_GROUP
        due = min(max(MIN_WAITING_ROWS, per_group * len(self._models)), MAX_WAITING_ROWS)
        if waiting >= due or (waiting and len(self._models) >= MAX_WAITING_MODELS):
            end = min(last_id, progress.last_id + MAX_WAITING_ROWS)
            self._roll_up(self._take(progress.last_id + 1, end), progress._replace(last_id=end))
            return True
        if not progress.is_complete:
            end = min(progress.older_end_id, progress.older_id + OLDER_ROWS_AT_ONCE)
            self._roll_up(self._read(progress.older_id + 1, end), progress._replace(older_id=end))
            return True
        now = now_us // MINUTE_US - GRACE_MINUTES
        return any(self._build(level, lower, now) for lower, level in itertools.pairwise(LEVELS))

    def _take(self, first_id: int, last_id: int) -> list[Row]:
        """What these rows add up to; from memory, if none of them came before this process."""
        rows, self._rows, self._failure_count = self._rows, [], 0
        self._models.clear()
        if rows and rows[0][0] == first_id and rows[-1][0] == last_id:
            return summarize_rows(rows)
        return self._read(first_id, last_id)

    def _read(self, first_id: int, last_id: int) -> list[Row]:
        return [*summarize(self._connection, "id BETWEEN ? AND ?", (first_id, last_id))]

    def _roll_up(self, found: list[Row], then: Progress) -> None:
        """Add to all buckets that are built."""
        with transaction(self._connection):
            groups = _by_group(found, LEVELS[0])
            rows = [combine_rows(group, parts) for group, parts in groups.items()]
            together = _by_group(rows, LEVELS[0], together=True)
            rows += [combine_rows(group, parts) for group, parts in together.items()]
            self._add(LEVELS[0], _by_group(rows, LEVELS[0]))
            for level, built in self._progress.built.items():
                groups = _by_group(rows, level)
                self._add(level, {group: parts for group, parts in groups.items() if group <= built})
            self._note(then)
        self._progress = then

    def _build(self, level: int, lower: int, now: int) -> bool:
        """Build some models' buckets from the smaller ones, once these are complete; False if there are none."""
        bucket, model = self._progress.built[level]
        complete = min(now, self._progress.built_until.get(lower, now)) // level * level
        if bucket >= complete:
            return False
        with transaction(self._connection):
            if model < 0:  # no bucket is half built: on to the next that has anything
                query = f"SELECT MIN(bucket) FROM {table(lower)} WHERE bucket >= ? AND bucket < ?"
                (first,) = self._connection.execute(query, (bucket, complete)).fetchone()
                bucket = complete if first is None else first // level * level
            built = (bucket, -1) if bucket >= complete else self._build_models(level, lower, bucket, model)
            then = self._progress._replace(built={**self._progress.built, level: built})
            self._note(then)
        self._progress = then
        return True

    def _build_models(self, level: int, lower: int, bucket: int, after: int) -> Group:
        """One slice of models; the group up to which the level is built then."""
        execute = self._connection.execute
        of_bucket = f"FROM {table(lower)} WHERE bucket >= ? AND bucket < ? AND model > ?"
        (first,) = execute(f"SELECT MIN(model) {of_bucket}", (bucket, bucket + level, after)).fetchone()
        if first is None:
            return bucket + level, -1
        last = first + MODELS_AT_ONCE - 1
        rows = execute(f"SELECT {SUMMARY} {of_bucket} AND model <= ?", (bucket, bucket + level, after, last))
        groups = _by_group(rows, level)
        self._put(level, [combine_rows(group, parts) for group, parts in groups.items()])
        return bucket, last

    def _add(self, level: int, groups: Mapping[Group, Sequence[Row]]) -> None:
        """Add to what there is, or begin it."""
        execute = self._connection.execute
        (newest,) = execute(f"SELECT MAX(bucket) FROM {table(level)}").fetchone()
        query = f"SELECT {SUMMARY} FROM {table(level)} WHERE bucket = ? AND model = ?"
        rows: list[Row] = []
        for group, parts in groups.items():
            known = None if newest is None or group[0] > newest else execute(query, group).fetchone()
            rows.append(combine_rows(group, [*parts, known] if known else parts))
        self._put(level, rows)

    def _put(self, level: int, rows: Iterable[Row]) -> None:
        marks = ", ".join("?" for _ in COLUMNS)
        self._connection.executemany(f"INSERT OR REPLACE INTO {table(level)} ({SUMMARY}) VALUES ({marks})", rows)

    def _note(self, progress: Progress) -> None:
        execute = self._connection.execute
        execute(
            "UPDATE rollup_progress SET last_id = ?, older_id = ?, older_end_id = ?",
            (progress.last_id, progress.older_id, progress.older_end_id),
        )
        self._connection.executemany(
            "UPDATE rollup_levels SET bucket = ?, model = ? WHERE level = ?",
            ((*group, level) for level, group in progress.built.items()),
        )
        self._connection.executemany(
            "UPDATE rollup_levels SET kept_from = ? WHERE level = ?",
            ((kept_from, level) for level, kept_from in progress.kept_from.items()),
        )


def _by_group(rows: Iterable[Row], level: int, *, together: bool = False) -> dict[Group, list[Row]]:
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        group = (row[0] // level * level, ALL_MODELS if together else row[1])
        groups.setdefault(group, []).append(row)
    return groups
