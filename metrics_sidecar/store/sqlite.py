"""The ledger in one SQLite file, in WAL mode, written by one connection."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from metrics_sidecar.ledger import Commit, Counters, State
from metrics_sidecar.queries import StoreError
from metrics_sidecar.store.schema import BUCKET_COLUMNS, migrate
from metrics_sidecar.totals import ModelTotals, merge_into
from shared.record import OVERFLOW_MODEL_ID, ErrorType, Record
from shared.settings import StartupError

MODEL_CACHE_SIZE = 50_000

TOTAL_COLUMNS = (
    "success_count",
    "failure_count",
    "latency_us",
    "min_latency_us",
    "max_latency_us",
    "last_timestamp_us",
    *BUCKET_COLUMNS,
)
_SUMMED = ("success_count", "failure_count", "latency_us", *BUCKET_COLUMNS)

_INSERT_INVOCATION = "INSERT INTO invocations VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_TOTALS = f"""
INSERT INTO totals (model, {", ".join(TOTAL_COLUMNS)}) VALUES (?{", ?" * len(TOTAL_COLUMNS)})
ON CONFLICT (model) DO UPDATE SET
    min_latency_us = MIN(min_latency_us, excluded.min_latency_us),
    max_latency_us = MAX(max_latency_us, excluded.max_latency_us),
    last_timestamp_us = MAX(last_timestamp_us, excluded.last_timestamp_us),
    {", ".join(f"{column} = {column} + excluded.{column}" for column in _SUMMED)}
"""
_ADD_ERROR = """
INSERT INTO error_totals VALUES (?, ?, ?)
ON CONFLICT (model, error_type) DO UPDATE SET count = count + excluded.count
"""
_SET_CURSOR = """
INSERT INTO producers (producer_id, committed, last_seen_us) VALUES (?, ?, ?)
ON CONFLICT (producer_id) DO UPDATE SET committed = excluded.committed, last_seen_us = excluded.last_seen_us
"""
_SET_REPORTED = """
INSERT INTO producers (producer_id, committed, last_seen_us, reported) VALUES (?, 0, ?, ?)
ON CONFLICT (producer_id) DO UPDATE SET reported = excluded.reported, last_seen_us = excluded.last_seen_us
"""
_ADD_COUNTER = """
INSERT INTO gateway_counters VALUES (?, ?, ?)
ON CONFLICT (name, label) DO UPDATE SET value = value + excluded.value
"""


class SqliteStore:
    """Implements `ledger.Store`. Synchronous; one thread at a time."""

    def __init__(self, path: Path, *, synced: bool = False) -> None:
        """Open or create the file; `StartupError` if it can't be used. `synced`: each commit waits for the
        disk; without it, one is a write to the log, which outlives the process, but after a loss of power
        the file, though whole, may lack the last commits."""
        self._path = path
        self._models: dict[str, int] = {}
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            migrate(self._connection, str(path))
            self._last_id = self._find_last_id()
        except sqlite3.Error as error:
            raise StartupError(f"{path} can't be used as history: {error}; it is left as it is") from None

    def _find_last_id(self) -> int:
        # Ids are never used again, not even when retention has removed the newest rows.
        query = """SELECT MAX(COALESCE((SELECT MAX(id) FROM invocations), 0),
                   COALESCE((SELECT SUM(success_count + failure_count) FROM totals), 0))"""
        last_id: int = self._connection.execute(query).fetchone()[0]
        return last_id

    def load(self) -> State:
        execute = self._connection.execute
        reported: dict[str, Counters] = {}
        cursors: dict[str, int] = {}
        for producer_id, committed, blob in execute("SELECT producer_id, committed, reported FROM producers"):
            cursors[producer_id] = committed
            if blob is not None:
                reported[producer_id] = msgspec.msgpack.decode(blob, type=Counters)
        counters: Counters = {}
        for name, label, value in execute("SELECT name, label, value FROM gateway_counters"):
            counters.setdefault(name, {})[label] = value
        (missing,) = execute("SELECT COALESCE(SUM(last_sequence - first_sequence + 1), 0) FROM gaps").fetchone()
        return State(cursors, reported, counters, read_totals_by_label(self._connection), missing)

    def commit(self, commit: Commit) -> list[str]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                granted = self._write(commit)
                connection.execute("COMMIT")
            except BaseException:
                self._models.clear()  # it may hold models that are rolled back now
                with contextlib.suppress(sqlite3.Error):  # SQLite itself may have rolled back
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        self._last_id += len(commit.records)
        return granted

    def _write(self, commit: Commit) -> list[str]:
        executemany = self._connection.executemany
        granted = self._number_models(commit)
        models = self._models
        if commit.records:
            executemany(_INSERT_INVOCATION, _invocation_rows(commit.records, models, self._last_id + 1))
            executemany(_ADD_TOTALS, (_totals_row(models[m], totals) for m, totals in commit.totals.items()))
            errors = [
                (models[model_id], str(error_type), count)
                for model_id, totals in commit.totals.items()
                for error_type, count in totals.errors.items()
            ]
            executemany(_ADD_ERROR, errors)
        executemany(_SET_CURSOR, ((p, cursor, commit.now_us) for p, cursor in commit.cursors.items()))
        executemany(
            _SET_REPORTED,
            ((p, commit.now_us, msgspec.msgpack.encode(counters)) for p, counters in commit.reported.items()),
        )
        executemany(
            _ADD_COUNTER,
            ((name, label, value) for name, values in commit.counters.items() for label, value in values.items()),
        )
        executemany(
            "INSERT INTO gaps VALUES (?, ?, ?)",
            ((gap.producer_id, gap.first_sequence, gap.last_sequence) for gap in commit.gaps),
        )
        executemany("DELETE FROM producers WHERE producer_id = ?", ((p,) for p in commit.retired))
        return granted

    def _number_models(self, commit: Commit) -> list[str]:
        """Make sure that `_models` has all models of this commit; the new ones that got a label."""
        if len(self._models) > MODEL_CACHE_SIZE:
            self._models.clear()
        execute = self._connection.execute
        granted: list[str] = []
        for model_id in commit.totals:
            if model_id in self._models:
                continue
            row = execute("SELECT model FROM models WHERE model_id = ?", (model_id,)).fetchone()
            if row is None:
                labelled = len(granted) < commit.label_room
                granted += [model_id] if labelled else []
                row = execute(
                    "INSERT INTO models (model_id, labelled) VALUES (?, ?) RETURNING model", (model_id, labelled)
                ).fetchone()
            self._models[model_id] = row[0]
        return granted

    def close(self) -> None:
        self._connection.close()


def read_totals_by_label(connection: sqlite3.Connection) -> dict[str, ModelTotals]:
    """Totals of the labelled models, and of all others together under `__overflow__`."""
    totals: dict[str, ModelTotals] = {}
    rows = connection.execute(
        f"""SELECT CASE WHEN labelled THEN model_id ELSE ? END, models.model, {", ".join(TOTAL_COLUMNS)}
        FROM totals JOIN models USING (model)""",
        (OVERFLOW_MODEL_ID,),
    )
    errors = _read_errors(connection)
    for label, model, *columns in rows:
        merge_into(totals, {label: totals_of(columns, errors.get(model, {}))})
    return totals


def totals_of(columns: list[int], errors: dict[ErrorType, int]) -> ModelTotals:
    """`ModelTotals` of a row of `TOTAL_COLUMNS`."""
    success, failure, latency, minimum, maximum, last = columns[:6]
    return ModelTotals(success, failure, latency, minimum, maximum, last, list(columns[6:]), errors)


def _read_errors(connection: sqlite3.Connection) -> dict[int, dict[ErrorType, int]]:
    errors: dict[int, dict[ErrorType, int]] = {}
    for model, error_type, count in connection.execute("SELECT model, error_type, count FROM error_totals"):
        errors.setdefault(model, {})[ErrorType(error_type)] = count
    return errors


def _invocation_rows(records: list[Record], models: dict[str, int], first_id: int) -> Iterable[tuple[object, ...]]:
    for row_id, record in enumerate(records, first_id):
        error_type = record.error_type
        yield (
            row_id,
            models[record.model_id],
            record.timestamp_us,
            record.latency_us,
            record.input_size,
            record.output_size,
            None if error_type is None else error_type.value,
            None if error_type is None else record.error_log,
        )


def _totals_row(model: int, totals: ModelTotals) -> tuple[int, ...]:
    return (
        model,
        totals.success_count,
        totals.failure_count,
        totals.latency_us,
        totals.min_latency_us,
        totals.max_latency_us,
        totals.last_timestamp_us,
        *totals.buckets,
    )
