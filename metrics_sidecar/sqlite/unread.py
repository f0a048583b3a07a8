"""Records that can't be read here, kept as they were sent for a release that can."""

import sqlite3
from typing import NamedTuple

from metrics_sidecar.ledger.transaction import Commit, UnreadRecord


class UnreadCount(NamedTuple):
    """How many are kept, of how many bytes, and how many more came when there was no more room for them."""

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


def count_unread(connection: sqlite3.Connection) -> UnreadCount:
    """All that there are."""
    query = """SELECT COUNT(*), COALESCE(SUM(LENGTH(encoded)), 0), (SELECT unread_dropped FROM books)
        FROM unread_records"""
    return UnreadCount(*connection.execute(query).fetchone())
