"""A history of many rows, made inside SQLite: all that ingest would have left."""

import itertools
import sqlite3
from pathlib import Path

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_US
from metrics_sidecar.sqlite.rollup_writer import RollupWriter
from metrics_sidecar.sqlite.schema import BUCKET_COLUMNS, migrate
from shared.record import ErrorType

SPAN_US = 24 * 3600 * 1_000_000
"""The rows lie in the last day: 116 a second of ten millions."""
FAILURES_PER_1000 = 20
OUTAGE = (0.50, 0.51)
"""In this part of the rows, by their place in time, every call failed."""
BATCH_ROWS = 1_000_000

_ROWS = """
WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last),
drawn AS MATERIALIZED (SELECT n, random() AS a, random() AS b, abs(random() % 1000) AS c FROM numbers)
INSERT INTO invocations (id, model, timestamp_us, latency_us, input_size, output_size, error_type, error_log)
SELECT n, 1 + (abs(a % :models) * abs(b % 1000)) / 1000, :start + n * :step + abs(b % 1000000),
    5000 + (c * c), 5, 5,
    CASE WHEN failed THEN CASE (a >> 20) & 7 {types} END END,
    CASE WHEN failed THEN 'upstream gave no answer within ' || (c % 120) || ' s' END
FROM (SELECT *, (c < :failures OR (n >= :outage_start AND n < :outage_end)) AS failed FROM drawn)
"""


def make_history(path: Path, rows: int, models: int, now_us: int) -> None:
    """Write a new file; rows of `models` models up to now, some much more often called than others."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, str(path))
    for pragma in ("synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL").fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.executemany(
        "INSERT INTO models (model, model_id, labelled) VALUES (?, ?, 1)",
        ((number, model_name(number)) for number in range(1, models + 1)),
    )
    _insert_rows(connection, rows, models, now_us)
    for _, sql in indexes:
        connection.execute(sql)
    _insert_totals(connection)
    rollups = RollupWriter(connection)
    while rollups.step(rows, now_us):
        pass
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def model_name(number: int) -> str:
    return f"team-{number % 10}/model-{number:05}"


def _insert_rows(connection: sqlite3.Connection, rows: int, models: int, now_us: int) -> None:
    kinds = " ".join(f"WHEN {number} THEN '{kind}'" for number, kind in enumerate(ErrorType))
    for first in range(1, rows + 1, BATCH_ROWS):
        values = {
            "first": first,
            "last": min(first + BATCH_ROWS - 1, rows),
            "models": models,
            "start": now_us - SPAN_US,
            "step": SPAN_US // rows,
            "failures": FAILURES_PER_1000,
            "outage_start": round(rows * OUTAGE[0]),
            "outage_end": round(rows * OUTAGE[1]),
        }
        connection.execute(_ROWS.format(types=kinds), values)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert_totals(connection: sqlite3.Connection) -> None:
    bounds = (0, *BUCKET_BOUNDS_US, 2**63 - 1)
    buckets = ", ".join(f"SUM(latency_us > {low} AND latency_us <= {high})" for low, high in itertools.pairwise(bounds))
    connection.execute(
        f"""INSERT INTO totals (model, success_count, failure_count, latency_us, min_latency_us, max_latency_us,
            last_timestamp_us, {", ".join(BUCKET_COLUMNS)})
        SELECT model, SUM(error_type IS NULL), SUM(error_type NOT NULL), SUM(latency_us), MIN(latency_us),
            MAX(latency_us), MAX(timestamp_us), {buckets} FROM invocations NOT INDEXED GROUP BY model"""
    )
    connection.execute(
        """INSERT INTO error_totals SELECT model, error_type, COUNT(*) FROM invocations NOT INDEXED
        WHERE error_type NOT NULL GROUP BY model, error_type"""
    )
