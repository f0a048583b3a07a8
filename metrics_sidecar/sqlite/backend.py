"""A history in one SQLite file, `history.db` of a data directory."""

from pathlib import Path

from metrics_sidecar.history.backend import DiskUse
from metrics_sidecar.history.retention import KEEP_ALL, Retention
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.disk import measure_disk
from metrics_sidecar.sqlite.reader import SqliteReader
from metrics_sidecar.sqlite.writer import SqliteWriter


class SqliteBackend:
    """Implements `backend.Backend`."""

    def __init__(
        self,
        path: Path,
        *,
        synced: bool = False,
        retention: Retention = KEEP_ALL,
        query_timeout_s: float | None = None,
    ) -> None:
        """`synced`: each commit waits for the disk; see `SqliteWriter`."""
        self._path = path
        self._synced = synced
        self._retention = retention
        self._query_timeout_s = query_timeout_s

    def open_writer(self) -> SqliteWriter:
        return SqliteWriter(self._path, synced=self._synced, retention=self._retention)

    def open_reader(self) -> SqliteReader:
        return SqliteReader(self._path, self._query_timeout_s)

    def open_audit(self) -> SqliteAudit:
        return SqliteAudit(self._path)

    def measure_disk(self) -> DiskUse | None:
        return measure_disk(self._path)
