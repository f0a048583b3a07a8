"""What is done to a history as a whole, and what can be said of it."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from metrics_sidecar.sqlite.identity import read_store_id
from metrics_sidecar.sqlite.imports import read_sources
from metrics_sidecar.sqlite.schema import check_version
from metrics_sidecar.sqlite.state import count_missing
from metrics_sidecar.sqlite.unread import UnreadCount, count_unread


class Summary(msgspec.Struct, frozen=True):
    """A history at a glance. Times are µs since 1970, None without rows; `bytes` with the log beside the file,
    `free_bytes` those in it that hold nothing. `removed`: rows that retention has removed; `imported_from`: ids
    of stores."""

    path: str
    store_id: str | None
    schema_version: int
    bytes: int
    free_bytes: int
    rows: int
    removed: int
    models: int
    producers: int
    missing: int
    unread: UnreadCount
    commits: int
    oldest_us: int | None
    newest_us: int | None
    imported_from: list[str]


def summarize(path: Path, connection: sqlite3.Connection) -> Summary:
    """Reads no row: what is counted was counted when it came."""

    def one(sql: str) -> Any:
        return connection.execute(sql).fetchone()[0]

    rows, removed = count_rows(connection)
    return Summary(
        path=str(path),
        store_id=read_store_id(connection),
        schema_version=check_version(connection, str(path)),
        bytes=size_of(path),
        free_bytes=one("PRAGMA freelist_count") * one("PRAGMA page_size"),
        rows=rows,
        removed=removed,
        models=one("SELECT COUNT(*) FROM models"),
        producers=one("SELECT COUNT(*) FROM producers"),
        missing=count_missing(connection)[1],
        unread=count_unread(connection),
        commits=one("SELECT commits FROM books"),
        oldest_us=one("SELECT MIN(timestamp_us) FROM invocations"),
        newest_us=one("SELECT MAX(timestamp_us) FROM invocations"),
        imported_from=read_sources(connection),
    )


def count_rows(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many rows there are by the totals, and how many retention has removed."""
    counted, removed = connection.execute(
        "SELECT COALESCE(SUM(success_count + failure_count), 0), COALESCE(SUM(removed_count), 0) FROM totals"
    ).fetchone()
    return counted - removed, removed


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, what is not free."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def compact(connection: sqlite3.Connection) -> None:
    """Write the file anew, without its holes."""
    for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
        connection.execute(statement).fetchall()


def size_of(path: Path) -> int:
    """Bytes of the file and its log."""
    return sum(file.stat().st_size for file in _files(path) if file.exists())


def _files(path: Path) -> Iterable[Path]:
    return path, path.with_name(f"{path.name}-wal")
