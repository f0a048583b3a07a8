"""The SQLite schema: its versions, and how a file comes from any of them to the newest."""

import sqlite3

import msgspec

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_US
from metrics_sidecar.sqlite.migrations import MIGRATIONS
from shared import logs
from shared.settings import StartupError

log = logs.get("schema")

APPLICATION_ID = 0x1A70CE11
"""In the file's header: tells our file from any other SQLite database."""

BUCKET_COLUMNS = (
    *(f"bucket_{index}" for index in range(10)),
    "bucket_3s",
    "bucket_4s",
    "bucket_10",
    "bucket_7500ms",
    "bucket_11",
    "bucket_15s",
    "bucket_20s",
    "bucket_12",
    "bucket_45s",
    *(f"bucket_{index}" for index in range(13, 17)),
)
"""One per bucket of the histogram, in its order; the names are older than some of the buckets."""

_FIRST_BOUNDS = (
    b"[5000,10000,25000,50000,100000,250000,500000,1000000,2000000,2500000,5000000,10000000,30000000,60000000,"
    b"120000000,300000000]"
)
_MORE_BOUNDS_SINCE = 7


def check_version(connection: sqlite3.Connection, path: str) -> int:
    """The file's version, 0 if it is new; `StartupError` for a foreign or a newer one. Only reads."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID and tables:
        raise StartupError(f"{path} is a SQLite database of another program; it is left as it is")
    if version > len(MIGRATIONS):
        raise StartupError(
            f"{path} has schema version {version}, written by a newer release; "
            f"this one knows versions up to {len(MIGRATIONS)}"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to the newest version; `StartupError` as `check_version`, or for other histogram bounds."""
    version = check_version(connection, path)
    if 0 < version < len(MIGRATIONS):
        log.info("schema.upgrading", path=path, version=version, newest=len(MIGRATIONS))
    for number in range(version, len(MIGRATIONS)):
        # executescript commits what was open before, so the transaction is part of the script.
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1}; COMMIT;"
        )
    bounds = msgspec.json.encode(BUCKET_BOUNDS_US)
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('bucket_bounds_us', ?)", (bounds,))
    check_bounds(connection, path, len(MIGRATIONS))


def check_bounds(connection: sqlite3.Connection, path: str, version: int) -> None:
    """Counts that were made under other bounds than this version's can't be shown under these: `StartupError`."""
    (stored,) = connection.execute("SELECT value FROM meta WHERE key = 'bucket_bounds_us'").fetchone()
    expected = msgspec.json.encode(BUCKET_BOUNDS_US) if version >= _MORE_BOUNDS_SINCE else _FIRST_BOUNDS
    if stored != expected:
        raise StartupError(f"{path} was written with other histogram bounds: {bytes(stored).decode()}")
