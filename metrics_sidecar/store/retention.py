"""Removes what is no longer kept from the SQLite ledger, a few rows between two commits, and gives back the space.

First it is noted from when on rows and buckets are kept, so that nothing is read that is half removed. Only what is
in larger buckets is removed, so that sums of all time stay what they are.
"""

import sqlite3

from metrics_sidecar.retention import Kept, Retention
from metrics_sidecar.rollups import DAY, HOUR, LEVELS, MINUTE_US
from metrics_sidecar.store.rollup_writer import RollupWriter
from metrics_sidecar.store.rollups import Table
from metrics_sidecar.store.transactions import transaction

ROWS_AT_ONCE = 100
PAGES_AT_ONCE = 64
FREE_PAGES_KEPT = 1024
"""Some room for what comes in: giving back a page that is needed again right away costs twice."""
LOOK_EVERY_US = 10_000_000


class Remover:
    """One slice at a time, on the connection of the commits. `removed_count`: rows, since this process began;
    `oldest_us`: of the oldest row, when it was last looked for."""

    def __init__(self, connection: sqlite3.Connection, retention: Retention, rollups: RollupWriter) -> None:
        self._connection = connection
        self._retention = retention
        self._rollups = rollups
        self._next_look_us = 0
        self.removed_count = 0
        self.oldest_us: int | None = None

    def step(self, now_us: int) -> bool:
        """One slice; False if there is nothing to remove, which is looked for every 10 s."""
        if now_us < self._next_look_us:
            return False
        # What is to go is gone before it is looked whether more must.
        if self._remove_rows() or self._remove_buckets() or self._note_what_is_kept(now_us) or self._give_back():
            return True
        self._next_look_us = now_us + LOOK_EVERY_US
        return False

    def _note_what_is_kept(self, now_us: int) -> bool:
        """Whether less is kept from now on."""
        progress = self._rollups.progress
        (self.oldest_us,) = self._connection.execute("SELECT MIN(timestamp_us) FROM invocations").fetchone()
        if not progress.is_complete:
            return False
        before = progress.kept
        wanted = self._retention.kept(now_us)
        if self._retention.is_exceeded(self._used_bytes()):
            hour = self._oldest_hour() + HOUR
            wanted = wanted._replace(rows=max(wanted.rows, hour), minutes=max(wanted.minutes, hour))
        # What is not in larger buckets yet is kept until it is.
        minutes = min(wanted.minutes, progress.built_until[HOUR] // HOUR * HOUR)
        hours = min(wanted.hours, minutes, progress.built_until[DAY]) // DAY * DAY
        kept = Kept(
            max(before.rows, wanted.rows),
            max(before.minutes, minutes),
            max(before.hours, hours),
            max(before.days, min(wanted.days, hours)),
        )
        if kept == before or not self._is_there(kept):
            return False
        self._rollups.keep(kept)
        return True

    def _oldest_hour(self) -> int:
        """Of the rows, or of the sums by the minute, of which there may be older ones."""
        table = Table(LEVELS[0])
        (block,) = self._connection.execute(f"SELECT MIN({table.block}) FROM {table.name}").fetchone()
        times = [minute for minute in (block, self.oldest_us and self.oldest_us // MINUTE_US) if minute is not None]
        return min(times, default=0) // HOUR * HOUR

    def _is_there(self, kept: Kept) -> bool:
        """Whether there is anything that is not to be kept: only then it is noted, for it can't be undone."""
        if self.oldest_us is not None and self.oldest_us < kept.rows * MINUTE_US:
            return True
        tables = ((Table(level), kept_from) for level, kept_from in kept.levels.items())
        return any(
            self._connection.execute(f"SELECT 1 FROM {table.name} WHERE {table.block} < ? LIMIT 1", (until,)).fetchone()
            for table, until in tables
        )

    def _remove_rows(self) -> bool:
        progress = self._rollups.progress
        execute = self._connection.execute
        found = execute(
            """SELECT id, model FROM invocations WHERE timestamp_us < ? AND +id <= ?
            ORDER BY timestamp_us LIMIT ?""",
            (progress.kept.rows * MINUTE_US, progress.last_id, ROWS_AT_ONCE),
        ).fetchall()
        if not found:
            return False
        with transaction(self._connection):
            self._connection.executemany("DELETE FROM invocations WHERE id = ?", ((row_id,) for row_id, _ in found))
            self._connection.executemany(
                "UPDATE totals SET removed_count = removed_count + 1 WHERE model = ?", ((model,) for _, model in found)
            )
        self.removed_count += len(found)
        return True

    def _remove_buckets(self) -> bool:
        for level, kept_from in self._rollups.progress.kept.levels.items():
            table = Table(level)
            query = f"SELECT {table.key} FROM {table.name} WHERE {table.block} < ? ORDER BY {table.key} LIMIT ?"
            found = self._connection.execute(query, (kept_from, ROWS_AT_ONCE)).fetchall()
            if found:
                marks = ", ".join("?" for _ in found[-1])
                with transaction(self._connection):
                    self._connection.execute(f"DELETE FROM {table.name} WHERE ({table.key}) <= ({marks})", found[-1])
                return True
        return False

    def _give_back(self) -> bool:
        (free_pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (mode,) = self._connection.execute("PRAGMA auto_vacuum").fetchone()
        if mode != INCREMENTAL or free_pages <= FREE_PAGES_KEPT:
            return False
        self._connection.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
        return True

    def _used_bytes(self) -> int:
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


INCREMENTAL = 2
"""What `PRAGMA auto_vacuum` says of a file that can be made smaller page by page."""
