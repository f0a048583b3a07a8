"""Who a history is: an id of its own, made once. With it, rows are the same rows in whatever file they are."""

import sqlite3
import uuid

_READ = "SELECT value FROM meta WHERE key = 'store_id'"


def identify(connection: sqlite3.Connection) -> str:
    """The id of a history that may be written; it gets one if it has none yet."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (uuid.uuid4().hex,))
    return str(connection.execute(_READ).fetchone()[0])


def read_store_id(connection: sqlite3.Connection) -> str | None:
    """None if no sidecar has run on this history since stores have ids."""
    row = connection.execute(_READ).fetchone()
    return None if row is None else str(row[0])
