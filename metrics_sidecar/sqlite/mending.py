"""Mends a history in which a wrong clock has left its traces. No sidecar may run on it, and the clock must be right."""

import sqlite3
from typing import NamedTuple

import msgspec

from metrics_sidecar.history.windows import DAY, MINUTE_US
from metrics_sidecar.ledger.reckoning import TimeState
from metrics_sidecar.sqlite.buckets import LEVELS, Row
from metrics_sidecar.sqlite.rollup_writer import RollupWriter
from metrics_sidecar.sqlite.rollups import SUMMARY, Table
from metrics_sidecar.sqlite.state import read_time
from metrics_sidecar.sqlite.transactions import transaction
from metrics_sidecar.sqlite.writer import SqliteWriter

ROLLED_UP_AFTER_US = 2 * MINUTE_US


class Mended(NamedTuple):
    """How many rows were of later than tomorrow, and the minutes from which rows were and are shown."""

    moved_rows: int
    shown_from_before: int
    shown_from: int


class MendingStore(SqliteWriter):
    """A store that is mended, and nothing else."""

    def mend(self, now_us: int) -> Mended:
        """Give rows of later than tomorrow the time of now, show what is there, and believe the clock."""
        before = self._rollups.progress.kept.rows
        # All is rolled up then, and all that is whole is shown: nothing is old at the time 0.
        for tended_us in (now_us, now_us + ROLLED_UP_AFTER_US):
            while self.tend(tended_us, aged_us=0):
                pass
        connection = self._connection
        first = (now_us // MINUTE_US // DAY + 2) * DAY
        with transaction(connection):
            moved = _move(connection, self._rollups, first, now_us)
            connection.execute("UPDATE rollup_levels SET bucket = MIN(bucket, ?)", (first,))
            running_us = read_time(connection).running_us
            time = TimeState(running_us, now_us - running_us, running_us)
            connection.execute("UPDATE books SET time = ?", (msgspec.msgpack.encode(time),))
        return Mended(moved, before, self._rollups.progress.kept.rows)


def _move(connection: sqlite3.Connection, writer: RollupWriter, first: int, now_us: int) -> int:
    """Rows and sums of this day on, which begins with the minute `first`, to now."""
    now = now_us // MINUTE_US
    first_us = first * MINUTE_US
    for level in reversed(LEVELS):  # the larger ones take from the first what is not built yet
        built = writer.progress.built.get(level, first)
        rows = _read(connection, level, first) if level == LEVELS[0] or built > first else []
        if level > LEVELS[0] and built > now:
            rows += _read(connection, LEVELS[0], max(first, built))
        writer.add(level, ((now, *row[1:7], min(row[7], now_us), *row[8:]) for row in rows))
        connection.execute(f"DELETE FROM {Table(level).name} WHERE {Table(level).block} >= ?", (first,))
    moved = connection.execute("UPDATE invocations SET timestamp_us = ? WHERE timestamp_us >= ?", (now_us, first_us))
    connection.execute(
        """UPDATE totals SET last_timestamp_us = MAX(?, COALESCE(
            (SELECT MAX(timestamp_us) FROM invocations WHERE invocations.model = totals.model), 0
        )) WHERE last_timestamp_us >= ?""",
        (now_us, first_us),
    )
    return moved.rowcount


def _read(connection: sqlite3.Connection, level: int, first: int) -> list[Row]:
    table = Table(level)
    query = f"SELECT {SUMMARY} FROM {table.name} WHERE {table.block} >= ?"
    return connection.execute(query, (first,)).fetchall()
