"""Removes what is no longer kept from the SQLite ledger, a few rows between two commits, and gives back the space.

First it is noted from when on rows and buckets are kept, so that nothing is read that is half removed: an hour or a day
of what there is at a time, so that hardly more is hidden than is removed. If less is to be removed after all, because
the clock was wrong, as much is shown again as is there. Only what is in larger buckets is removed, so that sums of all
time stay what they are.
"""

import sqlite3

from metrics_sidecar.history.retention import Kept, Retention
from metrics_sidecar.history.windows import DAY, HOUR, MINUTE_US
from metrics_sidecar.sqlite.buckets import LEVELS
from metrics_sidecar.sqlite.lowering import lowered
from metrics_sidecar.sqlite.rollup_writer import RollupWriter
from metrics_sidecar.sqlite.rollups import Table
from metrics_sidecar.sqlite.transactions import transaction
from metrics_sidecar.sqlite.unread import remove_unread
from metrics_sidecar.sqlite.upkeep import used_bytes
from shared.record import MAX_TIMESTAMP_US

ROWS_AT_ONCE = 100
PAGES_AT_ONCE = 64
FREE_PAGES_KEPT = 1024
"""Some room for what comes in: giving back a page that is needed again right away costs twice."""
LOOK_EVERY_US = 10_000_000
NONE = (MAX_TIMESTAMP_US // MINUTE_US // DAY + 1) * DAY


class Remover:
    """One slice at a time, on the connection of the commits. `removed_count`: rows, since this process began, and
    `removed_unread_bytes` of what could not be read;
    `oldest_us`: of the oldest row, when it was last looked for."""

    def __init__(self, connection: sqlite3.Connection, retention: Retention, rollups: RollupWriter) -> None:
        self._connection = connection
        self._retention = retention
        self._rollups = rollups
        self._next_look_us = 0
        self._too_much = 0
        self.removed_count = 0
        self.removed_unread_bytes = 0
        self.oldest_us: int | None = None

    def step(self, now_us: int) -> bool:
        """One slice; False if there is nothing to remove, which is looked for every 10 s. `now_us` may go back."""
        if now_us < self._next_look_us <= now_us + LOOK_EVERY_US:
            return False
        # What is to go is gone before it is looked whether more must.
        until = self._removed_until(now_us)
        if (
            self._remove_rows(until)
            or self._remove_unread(now_us)
            or self._remove_buckets(until)
            or self._note_what_is_kept(now_us)
        ):
            return True
        if self._give_back():
            return True
        self._next_look_us = now_us + LOOK_EVERY_US
        return False

    def _removed_until(self, now_us: int) -> Kept:
        """What is too old, of what is hidden: not what only a wrong clock has hidden."""
        aged = self._retention.kept(now_us)
        aged = aged._replace(rows=max(aged.rows, self._too_much), minutes=max(aged.minutes, self._too_much))
        return Kept(*map(min, self._rollups.progress.kept, aged))

    def _note_what_is_kept(self, now_us: int) -> bool:
        """Whether less is kept from now on, or more."""
        progress = self._rollups.progress
        (self.oldest_us,) = self._connection.execute("SELECT MIN(timestamp_us) FROM invocations").fetchone()
        if not progress.is_complete:
            return False
        before = progress.kept
        wanted = self._retention.kept(now_us)
        oldest = self._oldest()
        self._too_much = 0
        if self._retention.is_exceeded(used_bytes(self._connection)):
            # Not the present, however few hours there are: what comes in would be hidden at once.
            hour = min(min(oldest.rows, oldest.minutes) + HOUR, now_us // MINUTE_US // HOUR * HOUR)
            wanted = wanted._replace(rows=max(wanted.rows, hour), minutes=max(wanted.minutes, hour))
            self._too_much = hour
        # What is not in larger buckets yet is kept until it is.
        wanted = Kept(*map(_next, wanted, oldest, (HOUR, HOUR, DAY, DAY)))
        minutes = min(wanted.minutes, wanted.rows, progress.built[HOUR] // HOUR * HOUR)
        hours = min(wanted.hours, minutes, progress.built[DAY]) // DAY * DAY
        wanted = Kept(wanted.rows, minutes, hours, min(wanted.days, hours))
        kept = Kept(*map(max, before, wanted))
        if kept == before or not self._is_there(kept):
            kept = lowered(self._connection, progress, wanted)
        if kept == before:
            return False
        self._rollups.keep(kept)
        return True

    def _oldest(self) -> Kept:
        """The hours, and days, in which what there is begins; of what there is none, after the last."""
        found = {level: self._oldest_bucket(Table(level)) for level in LEVELS}
        rows = NONE if self.oldest_us is None else self.oldest_us // MINUTE_US
        return Kept(rows // HOUR * HOUR, found[LEVELS[0]] // HOUR * HOUR, found[HOUR] // DAY * DAY, found[DAY])

    def _oldest_bucket(self, table: Table) -> int:
        (block,) = self._connection.execute(f"SELECT MIN({table.block}) FROM {table.name}").fetchone()
        return NONE if block is None else int(block)

    def _is_there(self, kept: Kept) -> bool:
        """Whether there is anything that is not to be kept: only then it is noted, for it can't be undone."""
        if self.oldest_us is not None and self.oldest_us < kept.rows * MINUTE_US:
            return True
        tables = ((Table(level), kept_from) for level, kept_from in kept.levels.items())
        return any(
            self._connection.execute(f"SELECT 1 FROM {table.name} WHERE {table.block} < ? LIMIT 1", (until,)).fetchone()
            for table, until in tables
        )

    def _remove_rows(self, until: Kept) -> bool:
        progress = self._rollups.progress
        execute = self._connection.execute
        found = execute(
            """SELECT id, model FROM invocations WHERE timestamp_us < ? AND +id <= ?
            ORDER BY timestamp_us LIMIT ?""",
            (until.rows * MINUTE_US, progress.last_id, ROWS_AT_ONCE),
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

    def _remove_unread(self, now_us: int) -> bool:
        """What can't be read is kept no longer than rows are, by when it came."""
        size_bytes = remove_unread(self._connection, self._retention.kept(now_us).rows * MINUTE_US, ROWS_AT_ONCE)
        self.removed_unread_bytes += size_bytes
        return size_bytes > 0

    def _remove_buckets(self, until: Kept) -> bool:
        for level, kept_from in until.levels.items():
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


def _next(wanted: int, oldest: int, length: int) -> int:
    """The end of the oldest hour or day that is to go, or all that is wanted where there is none."""
    return min(wanted, oldest + length) if oldest < wanted else wanted


INCREMENTAL = 2
"""What `PRAGMA auto_vacuum` says of a file that can be made smaller page by page."""
