"""Reads of the SQLite ledger, on threads and connections of their own: WAL lets them run beside commits."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from metrics_sidecar.queries import HistoryPage, HistoryQuery, HistoryRow, QueryTooLongError, StoreError
from metrics_sidecar.store.guard import Guard
from metrics_sidecar.store.history import read_history, read_invocation
from metrics_sidecar.store.offsets import DEEP
from metrics_sidecar.store.state import TOTAL_COLUMNS, read_totals_by_label, totals_of
from metrics_sidecar.store.windows import read_series, read_window
from metrics_sidecar.totals import ModelTotals
from metrics_sidecar.windows import SeriesAnswer, SeriesQuery, Window, WindowAnswer
from shared.record import ErrorType

QUICK_THREADS = 1
"""For reads of some milliseconds. A second one made each of them slower, as both spend most of their time in Python,
and commits, too: their thread would have to wait for two others after each statement."""
LONG_THREADS = 2
"""For reads that can take long, which is in SQLite; they may delay each other, but no quick one."""

Result = TypeVar("Result")


class SqliteQueries:
    """Implements `queries.Queries` on a file that a `SqliteStore` has created."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        """`timeout_s`: how long a read may take, its waiting for a thread included; None: as long as it takes."""
        self._path = path
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._quick = ThreadPoolExecutor(QUICK_THREADS, thread_name_prefix="reader")
        self._long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="long-reader")

    async def history(self, query: HistoryQuery) -> HistoryPage:
        long = query.filter.reads_rows or query.offset > DEEP
        return await self._read(lambda connection, guard: read_history(connection, query, guard), long=long)

    async def invocation(self, row_id: int) -> HistoryRow | None:
        return await self._read(lambda connection, _guard: read_invocation(connection, row_id))

    async def totals(self, model_id: str) -> ModelTotals | None:
        return await self._read(lambda connection, _guard: _read_totals(connection, model_id))

    async def totals_by_label(self) -> dict[str, ModelTotals]:
        return await self._read(lambda connection, _guard: read_totals_by_label(connection))

    async def window(self, window: Window, models: Sequence[str]) -> WindowAnswer:
        return await self._read(lambda connection, _guard: read_window(connection, window, models), long=not models)

    async def series(self, query: SeriesQuery) -> SeriesAnswer:
        return await self._read(lambda connection, _guard: read_series(connection, query), long=True)

    def close(self) -> None:
        for pool in (self._quick, self._long):
            pool.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    async def _read(self, read: Callable[[sqlite3.Connection, Guard], Result], *, long: bool = False) -> Result:
        """What it returns; its statements end when the time is over, or when the caller is cancelled."""
        guard = Guard()
        try:
            async with asyncio.timeout(self._timeout_s):
                pool = self._long if long else self._quick
                return await asyncio.get_running_loop().run_in_executor(pool, self._in_snapshot, read, guard)
        except TimeoutError:
            raise QueryTooLongError(f"it took longer than {self._timeout_s:g} s") from None
        finally:
            guard.stop()

    def _in_snapshot(self, read: Callable[[sqlite3.Connection, Guard], Result], guard: Guard) -> Result:
        try:
            with self._snapshot() as connection, guard.watching(connection):
                return read(connection, guard)
        except sqlite3.Error as error:
            raise StoreError(f"history can't be read: {error}") from error

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            self._local.connection = connection
            self._connections.append(connection)
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")


def _read_totals(connection: sqlite3.Connection, model_id: str) -> ModelTotals | None:
    row = connection.execute(
        f"SELECT model, {', '.join(TOTAL_COLUMNS)} FROM totals JOIN models USING (model) WHERE model_id = ?",
        (model_id,),
    ).fetchone()
    if row is None:
        return None
    model, *columns = row
    errors = connection.execute("SELECT error_type, count FROM error_totals WHERE model = ?", (model,))
    return totals_of(columns, {ErrorType(error_type): count for error_type, count in errors})
