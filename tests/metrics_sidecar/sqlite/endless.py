"""The process that reads the history, in which each page takes for ever; what begins and ends is told in a file."""

import sqlite3
import sys
from pathlib import Path
from unittest.mock import patch

from metrics_sidecar.sqlite import reading
from metrics_sidecar.sqlite.guard import Guard

ENDLESS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT COUNT(*) FROM numbers"


def told(path: Path) -> Path:
    """The file beside the history."""
    return path.with_name("endless.log")


def read(connection: sqlite3.Connection, _query: object, _guard: Guard) -> None:
    with told(Path(sys.argv[1])).open("a", buffering=1) as log:
        log.write("begun\n")
        try:
            connection.execute(ENDLESS).fetchone()
        finally:
            log.write("ended\n")


if __name__ == "__main__":
    with patch("metrics_sidecar.sqlite.reading.read_history", read):
        reading.main()
