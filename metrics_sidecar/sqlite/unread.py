"""Records that can't be read here, kept as they were sent for a release that can."""

import sqlite3
from typing import NamedTuple

from metrics_sidecar.ledger.transaction import Commit, UnreadRecord
from metrics_sidecar.sqlite.transactions import transaction


class UnreadCount(NamedTuple):
    """How many are kept, of how many bytes, and how many more are not: when they came there was no more room, or they
    had been there for as long as rows are kept."""

    kept: int
    bytes: int
    dropped: int


def write_unread(connection: sqlite3.Connection, commit: Commit) -> None:
    """What a commit sets aside, and what it has read at last."""
    connection.executemany(
        "INSERT INTO unread_records (producer_id, sequence, arrived_us, reason, encoded) VALUES (?, ?, ?, ?, ?)",
        ((each.producer_id, each.sequence, commit.now_us, each.reason, each.encoded) for each in commit.unread),
    )
    connection.executemany("DELETE FROM unread_records WHERE id = ?", ((each.id,) for each in commit.reread))


def read_unread(connection: sqlite3.Connection, after_id: int, limit: int) -> list[UnreadRecord]:
    """The next ones after an id."""
    query = """SELECT producer_id, sequence, encoded, reason, id FROM unread_records
        WHERE id > ? ORDER BY id LIMIT ?"""
    return [UnreadRecord(*row) for row in connection.execute(query, (after_id, limit))]


def remove_unread(connection: sqlite3.Connection, until_us: int, limit: int) -> int:
    """The first ones that came before a moment: as if there had been no room for them. Of how many bytes."""
    query = "SELECT id, LENGTH(encoded) FROM unread_records WHERE arrived_us < ? ORDER BY id LIMIT ?"
    found = connection.execute(query, (until_us, limit)).fetchall() if until_us else []
    if found:
        with transaction(connection):
            connection.executemany("DELETE FROM unread_records WHERE id = ?", ((row_id,) for row_id, _ in found))
            connection.execute("UPDATE books SET unread_dropped = unread_dropped + ?", (len(found),))
    return sum(size for _, size in found)


def count_unread(connection: sqlite3.Connection) -> UnreadCount:
    """All that there are."""
    query = """SELECT COUNT(*), COALESCE(SUM(LENGTH(encoded)), 0), (SELECT unread_dropped FROM books)
        FROM unread_records"""
    return UnreadCount(*connection.execute(query).fetchone())
