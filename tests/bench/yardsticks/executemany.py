"""A plain loop of executemany into SQLite, with the history's schema and indexes, and nothing else: no frames,
no totals, no acknowledgements. `python -m tests.bench.yardsticks.executemany FILE RECORDS MODELS`."""

import json
import sqlite3
import sys
import time
from pathlib import Path

from metrics_sidecar.ledger.ledger import MAX_COMMIT_RECORDS
from metrics_sidecar.sqlite.schema import migrate
from shared.record import Record
from tests.bench.producers import make_records


def main(path: Path, count: int, models: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    migrate(connection, str(path))
    records = make_records(count, models)
    columns = [row[1] for row in connection.execute("PRAGMA table_info (invocations)")]
    statement = f"INSERT INTO invocations ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    rows = make_rows(columns, records)
    started, started_cpu = time.perf_counter(), time.process_time()
    for start in range(0, count, MAX_COMMIT_RECORDS):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, rows[start : start + MAX_COMMIT_RECORDS])
        connection.execute("COMMIT")
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    connection.execute("PRAGMA wal_checkpoint (TRUNCATE)")
    connection.close()
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "bytes": path.stat().st_size}))


def make_rows(columns: list[str], records: list[Record]) -> list[tuple[object, ...]]:
    """The rows, ready before the clock starts. A column that this doesn't know is left NULL."""
    numbers: dict[str, int] = {}
    rows: list[tuple[object, ...]] = []
    for row_id, record in enumerate(records, 1):
        values = {
            "id": row_id,
            "model": numbers.setdefault(record.model_id, len(numbers) + 1),
            "timestamp_us": record.timestamp_us,
            "latency_us": record.latency_us,
            "input_size": record.input_size,
            "output_size": record.output_size,
            "error_type": record.error_type,
            "error_log": record.error_log or None,
        }
        rows.append(tuple(map(values.get, columns)))
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
