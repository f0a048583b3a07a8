"""Shows again what retention was to remove and has not: the hours, and days, of which all is there.

Whether it is, larger buckets tell, which count what is in the smaller ones and in the rows: so this can't be fooled by
any clock, and nothing is shown that is half removed.
"""

import sqlite3

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.windows import DAY, HOUR, MINUTE_US
from metrics_sidecar.sqlite.buckets import ALL_MODELS, LEVELS
from metrics_sidecar.sqlite.rollups import Progress, Table

ROWS, MINUTES, HOURS = "rows", "minutes", "hours"


def lowered(connection: sqlite3.Connection, progress: Progress, wanted: Kept) -> Kept:
    """What is kept with an hour or a day more of what is wanted, if all of that is there; otherwise as it is. What is
    larger comes first, as nothing is kept longer than that."""
    kept = progress.kept
    for name, length, floor in (
        (HOURS, DAY, max(wanted.hours, kept.days)),
        (MINUTES, HOUR, max(wanted.minutes, kept.hours)),
        (ROWS, HOUR, max(wanted.rows, kept.minutes)),
    ):
        before: int = getattr(kept, name)
        if before <= floor:
            continue
        start = max((_newest(connection, before) // length + 1) * length, floor)
        if start >= before:
            start = max(before - length, floor)
            if not _is_whole(connection, progress, name, start, before):
                continue
        return kept._replace(**{name: start})
    return kept


def _newest(connection: sqlite3.Connection, before: int) -> int:
    """The last minute before another of which there may be anything: what lies between is empty."""
    (newest_us,) = connection.execute(
        "SELECT MAX(timestamp_us) FROM invocations WHERE timestamp_us < ?", (before * MINUTE_US,)
    ).fetchone()
    found = [-1 if newest_us is None else newest_us // MINUTE_US]
    for table in map(Table, LEVELS):
        query = f"SELECT MAX({table.block}) FROM {table.name} WHERE {table.block} < ?"
        (block,) = connection.execute(query, (before,)).fetchone()
        if block is not None:
            found.append(min(block + table.block_length, before) - 1)
    return int(max(found))


def _is_whole(connection: sqlite3.Connection, progress: Progress, name: str, start: int, end: int) -> bool:
    """Whether what is in the next larger bucket is in these, too. Where that is not built yet, nothing was removed."""
    if name == ROWS:
        query = "SELECT COUNT(*) FROM invocations WHERE timestamp_us >= ? AND timestamp_us < ? AND +id <= ?"
        arguments = (start * MINUTE_US, end * MINUTE_US, progress.last_id)
        (rows,) = connection.execute(query, arguments).fetchone()
        return bool(rows == _count(connection, Table(LEVELS[0]), start, end))
    level, larger = (LEVELS[0], HOUR) if name == MINUTES else (HOUR, DAY)
    until = min(end, progress.built[larger])  # the last bucket grows until it is full
    return _count(connection, Table(level), start, until) == _count(connection, Table(larger), start, until)


def _count(connection: sqlite3.Connection, table: Table, start: int, end: int) -> int:
    """Calls of all models together."""
    query = f"""SELECT COALESCE(SUM(success_count + failure_count), 0) FROM {table.name}
    WHERE {table.block} >= ? AND {table.block} < ? AND bucket >= ? AND bucket < ? AND model = ?"""
    (count,) = connection.execute(query, (table.block_of(start), end, start, end, ALL_MODELS)).fetchone()
    return int(count)
