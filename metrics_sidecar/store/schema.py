"""The SQLite schema: its versions, and how a file comes from any of them to the newest."""

import sqlite3

import msgspec

from metrics_sidecar.rollups import COLUMNS, LEVELS
from metrics_sidecar.store import rollups
from metrics_sidecar.totals import BUCKET_BOUNDS_US
from shared import logs
from shared.settings import StartupError

log = logs.get("schema")

APPLICATION_ID = 0x1A70CE11
"""In the file's header: tells our file from any other SQLite database."""

BUCKET_COLUMNS = tuple(f"bucket_{index}" for index in range(len(BUCKET_BOUNDS_US) + 1))

_V1 = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- labelled: has a label of its own in the metrics, decided once, when the model is first seen.
CREATE TABLE models (
    model INTEGER PRIMARY KEY,
    model_id TEXT NOT NULL UNIQUE,
    labelled INTEGER NOT NULL
);

-- error_type and error_log are NULL for a success: they cost nothing then.
CREATE TABLE invocations (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL,
    timestamp_us INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL,
    output_size INTEGER NOT NULL,
    error_type TEXT,
    error_log TEXT
);
CREATE INDEX invocations_by_time ON invocations (timestamp_us);
CREATE INDEX invocations_by_model ON invocations (model, timestamp_us);
CREATE INDEX failures_by_time ON invocations (timestamp_us) WHERE error_type IS NOT NULL;
CREATE INDEX failures_by_model ON invocations (model, timestamp_us) WHERE error_type IS NOT NULL;

CREATE TABLE totals (
    model INTEGER PRIMARY KEY,
    success_count INTEGER NOT NULL,
    failure_count INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL,
    max_latency_us INTEGER NOT NULL,
    last_timestamp_us INTEGER NOT NULL,
    {", ".join(f"{column} INTEGER NOT NULL" for column in BUCKET_COLUMNS)},
    removed_count INTEGER NOT NULL DEFAULT 0  -- of those counted above: whose rows retention has removed
);
CREATE TABLE error_totals (
    model INTEGER NOT NULL,
    error_type TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (model, error_type)
) WITHOUT ROWID;

-- committed: the last sequence of this producer that is in the ledger; each up to it is accepted or missing.
-- reported: its own counters as it last reported them, so that a report sent again adds nothing.
CREATE TABLE producers (
    producer_id TEXT PRIMARY KEY,
    committed INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    last_seen_us INTEGER NOT NULL,
    reported BLOB NOT NULL
) WITHOUT ROWID;

-- One row, changed by each transaction. What retired producers leave when their accounts go.
CREATE TABLE books (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    commits INTEGER NOT NULL,
    retired_producers INTEGER NOT NULL,
    retired_accepted INTEGER NOT NULL,
    retired_missing INTEGER NOT NULL
);
INSERT INTO books VALUES (1, 0, 0, 0, 0);

CREATE TABLE gaps (
    producer_id TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL
);
CREATE TABLE gateway_counters (
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (name, label)
) WITHOUT ROWID;
"""

# Adds to the schema only, no row is written anew; NULL without a trace, which takes one byte of a new row.
_V2 = "ALTER TABLE invocations ADD COLUMN trace_id TEXT;"

# Failures in indexes by their type, so that each can be found; all of them are the types merged. Two seconds for ten
# million rows. Rows that are there already are rolled up later, in slices.
_V3 = f"""
DROP INDEX failures_by_time;
DROP INDEX failures_by_model;
CREATE INDEX failures_by_type ON invocations (error_type, timestamp_us) WHERE error_type IS NOT NULL;
CREATE INDEX failures_by_model ON invocations (model, error_type, timestamp_us) WHERE error_type IS NOT NULL;
{rollups.SCHEMA}
"""

# Rollups that advance in slices of models, and are kept for times of their own.
_V4 = """
ALTER TABLE rollup_levels ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
UPDATE rollup_levels SET until = bucket + level WHERE model >= 0;
ALTER TABLE rollup_progress ADD COLUMN ahead_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_progress ADD COLUMN ahead_model INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_progress ADD COLUMN rows_from INTEGER NOT NULL DEFAULT 0;
UPDATE rollup_progress SET rows_from = (SELECT kept_from FROM rollup_levels ORDER BY level LIMIT 1);
"""

# Ten minutes of a model are side by side, and counts of larger buckets are in indexes. Sums by the minute are the only
# rows that are written anew: two seconds for each million.
_MINUTES = rollups.Table(LEVELS[0]).name
_V5 = f"""
ALTER TABLE {_MINUTES} RENAME TO by_minute;
CREATE TABLE {_MINUTES} (
    block INTEGER NOT NULL,  -- the first of the ten minutes
    bucket INTEGER NOT NULL,
    model INTEGER NOT NULL,
    {", ".join(f"{column} INTEGER NOT NULL" for column in COLUMNS[2:-2])},
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (block, model, bucket)
) WITHOUT ROWID;
INSERT INTO {_MINUTES} SELECT bucket / 10 * 10, * FROM by_minute;
DROP TABLE by_minute;
{
    "".join(
        f"CREATE INDEX counts_{level} ON {rollups.Table(level).name} (bucket, model, success_count, failure_count);"
        for level in LEVELS[1:]
    )
}
"""

# Which minutes are not added to any more, and how often that was wrong: what was read of them can be kept.
_V6 = """
ALTER TABLE rollup_progress ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_progress ADD COLUMN late_count INTEGER NOT NULL DEFAULT 0;
"""

MIGRATIONS = (_V1, _V2, _V3, _V4, _V5, _V6)
"""`MIGRATIONS[n]` brings version n to n + 1. Never change one that was released."""


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
    check_bounds(connection, path)


def check_bounds(connection: sqlite3.Connection, path: str) -> None:
    """Counts that were made under other bounds can't be shown under these: `StartupError`."""
    (stored,) = connection.execute("SELECT value FROM meta WHERE key = 'bucket_bounds_us'").fetchone()
    if stored != msgspec.json.encode(BUCKET_BOUNDS_US):
        raise StartupError(f"{path} was written with other histogram bounds: {bytes(stored).decode()}")
