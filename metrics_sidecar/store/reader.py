"""Reads of the SQLite ledger, on threads and connections of their own: WAL lets them run beside commits."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from metrics_sidecar.queries import HistoryPage, HistoryQuery, HistoryRow, Position, StoreError
from metrics_sidecar.store.state import TOTAL_COLUMNS, read_totals_by_label, totals_of
from metrics_sidecar.totals import ModelTotals
from shared.record import ErrorType

READER_THREADS = 4

_ROW = """id, (SELECT model_id FROM models WHERE models.model = invocations.model), timestamp_us,
    latency_us, error_type, error_log, input_size, output_size, trace_id"""

Result = TypeVar("Result")


class SqliteQueries:
    """Implements `queries.Queries` on a file that a `SqliteStore` has created."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="reader")

    async def history(self, query: HistoryQuery) -> HistoryPage:
        return await self._read(lambda connection: read_history(connection, query))

    async def totals(self, model_id: str) -> ModelTotals | None:
        return await self._read(lambda connection: _read_totals(connection, model_id))

    async def totals_by_label(self) -> dict[str, ModelTotals]:
        return await self._read(read_totals_by_label)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    async def _read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._in_snapshot, read)

    def _in_snapshot(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            with self._snapshot() as connection:
                return read(connection)
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


def read_history(connection: sqlite3.Connection, query: HistoryQuery) -> HistoryPage:
    """One page and the count of all that matches, within the caller's transaction."""
    model = None
    if query.model_id is not None:
        row = connection.execute("SELECT model FROM models WHERE model_id = ?", (query.model_id,)).fetchone()
        if row is None:
            return HistoryPage([], 0, None)
        (model,) = row
    total_count = _count(connection, query, model)
    if query.offset >= total_count:
        return HistoryPage([], total_count, None)
    where, arguments = _conditions(query, model)
    newest_first = query.order == "desc"
    if query.after is not None:
        where.append(f"(timestamp_us, id) {'<' if newest_first else '>'} (?, ?)")
        arguments += [query.after.timestamp_us, query.after.id]
    direction = "DESC" if newest_first else "ASC"
    # One row more than asked for tells whether there is a next page.
    found = connection.execute(
        f"""SELECT {_ROW} FROM invocations {_where(where)}
        ORDER BY timestamp_us {direction}, id {direction} LIMIT ? OFFSET ?""",
        [*arguments, query.limit + 1, query.offset],
    ).fetchall()
    rows = [_history_row(*columns) for columns in found[: query.limit]]
    more = len(found) > query.limit
    return HistoryPage(rows, total_count, Position(rows[-1].timestamp_us, rows[-1].id) if more else None)


def _conditions(query: HistoryQuery, model: int | None) -> tuple[list[str], list[int]]:
    where: list[str] = []
    arguments: list[int] = []
    if model is not None:
        where.append("model = ?")
        arguments.append(model)
    if query.since_us is not None:
        where.append("timestamp_us >= ?")
        arguments.append(query.since_us)
    if query.until_us is not None:
        where.append("timestamp_us < ?")
        arguments.append(query.until_us)
    if query.status is not None:
        where.append("error_type IS NULL" if query.status == "success" else "error_type IS NOT NULL")
    return where, arguments


def _count(connection: sqlite3.Connection, query: HistoryQuery, model: int | None) -> int:
    if query.since_us is not None or query.until_us is not None:
        where, arguments = _conditions(query, model)
        sql = f"SELECT COUNT(*) FROM invocations {_where(where)}"
    else:
        counted = {
            None: "success_count + failure_count",
            "success": "success_count",
            "failure": "failure_count",
        }
        sql = f"SELECT COALESCE(SUM({counted[query.status]}), 0) FROM totals"
        sql += "" if model is None else " WHERE model = ?"
        arguments = [] if model is None else [model]
    count: int = connection.execute(sql, arguments).fetchone()[0]
    return count


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _history_row(
    row_id: int,
    model_id: str,
    timestamp_us: int,
    latency_us: int,
    error_type: str | None,
    error_log: str | None,
    input_size: int,
    output_size: int,
    trace_id: str | None,
) -> HistoryRow:
    return HistoryRow(
        id=row_id,
        model_id=model_id,
        timestamp_us=timestamp_us,
        latency_us=latency_us,
        error_type=None if error_type is None else ErrorType(error_type),
        error_log=error_log or "",
        input_size=input_size,
        output_size=output_size,
        trace_id=trace_id,
    )


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
