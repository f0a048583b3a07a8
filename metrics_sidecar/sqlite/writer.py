"""The ledger in one SQLite file, in WAL mode, written by one connection."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.history.retention import KEEP_ALL, Retention, Upkeep
from metrics_sidecar.ledger.transaction import Commit, State, UnreadRecord
from metrics_sidecar.ledger.usage import USAGE_NAMES
from metrics_sidecar.sqlite.checkpoints import Checkpointer
from metrics_sidecar.sqlite.columns import COLUMNS
from metrics_sidecar.sqlite.identity import identify
from metrics_sidecar.sqlite.imports import find_known, write_origin
from metrics_sidecar.sqlite.inspection import inspect
from metrics_sidecar.sqlite.retention import Remover
from metrics_sidecar.sqlite.rollup_writer import RollupWriter
from metrics_sidecar.sqlite.schema import migrate
from metrics_sidecar.sqlite.state import ACCOUNT_COLUMNS, DAMAGE, SUMMED_COLUMNS, TOTAL_COLUMNS, read_state, totals_row
from metrics_sidecar.sqlite.unread import read_unread, write_unread
from metrics_sidecar.sqlite.words import Words
from shared.record import MAX_COUNT
from shared.settings import StartupError

MODEL_CACHE_SIZE = 50_000
CACHE_BYTES = 24 * 1024 * 1024
"""Of pages: with some thousand models a transaction changes as many, and with SQLite's own 2 MB they would be
written and read again and again meanwhile."""

_ADD_TOTALS = f"""
INSERT INTO totals (model, {", ".join(TOTAL_COLUMNS)}) VALUES (?{", ?" * len(TOTAL_COLUMNS)})
ON CONFLICT (model) DO UPDATE SET
    min_latency_us = MIN(min_latency_us, excluded.min_latency_us),
    max_latency_us = MAX(max_latency_us, excluded.max_latency_us),
    last_timestamp_us = MAX(last_timestamp_us, excluded.last_timestamp_us),
    -- Past the largest integer SQLite would go on with a float.
    {", ".join(f"{column} = MIN({column} + excluded.{column}, {MAX_COUNT})" for column in SUMMED_COLUMNS)}
"""
_ADD_USAGE = f"""
INSERT INTO usage_totals (model, {", ".join(USAGE_NAMES)}) VALUES (?{", ?" * len(USAGE_NAMES)})
ON CONFLICT (model) DO UPDATE SET
    {", ".join(f"{name} = MIN({name} + excluded.{name}, {MAX_COUNT})" for name in USAGE_NAMES)}
"""
_ADD_ERROR = """
INSERT INTO error_totals VALUES (?, ?, ?)
ON CONFLICT (model, error_type) DO UPDATE SET count = count + excluded.count
"""
_SET_PRODUCER = f"""
INSERT INTO producers (producer_id, {", ".join(ACCOUNT_COLUMNS)}) VALUES (?{", ?" * len(ACCOUNT_COLUMNS)})
ON CONFLICT (producer_id) DO UPDATE SET {", ".join(f"{column} = excluded.{column}" for column in ACCOUNT_COLUMNS)}
"""
_ADD_RETIRED = f"""
UPDATE books SET commits = ?, retired_producers = retired_producers + ?, retired_accepted = retired_accepted + ?,
    retired_missing = MIN(retired_missing + ?, {MAX_COUNT}), retired_unread = retired_unread + ?,
    unread_dropped = unread_dropped + ?, time = COALESCE(?, time)
"""
_ADD_COUNTER = f"""
INSERT INTO gateway_counters VALUES (?, ?, ?)
ON CONFLICT (name, label) DO UPDATE SET value = MIN(value + excluded.value, {MAX_COUNT})
"""


class SqliteWriter:
    """Implements `writer.Writer`. Synchronous; one thread at a time."""

    def __init__(self, path: Path, *, synced: bool = False, retention: Retention = KEEP_ALL) -> None:
        """Open or create the file; `StartupError` if it can't be used. `synced`: each commit waits for the
        disk; without it, one is a write to the log, which outlives the process, but after a loss of power
        the file, though whole, may lack the last commits."""
        self._path = path
        self._models: dict[str, int] = {}
        self._rows: list[tuple[Any, ...]] = []
        inspect(path)
        try:
            with contextlib.ExitStack() as opened:
                self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                opened.callback(self._connection.close)
                # Of a new file only: what is removed later can be given back to the disk, a few pages at a time.
                self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._connection.execute("PRAGMA journal_mode = WAL")
                synchronous = "FULL" if synced else "NORMAL"
                self._connection.execute(f"PRAGMA synchronous = {synchronous}")
                self._connection.execute(f"PRAGMA cache_size = -{CACHE_BYTES // 1024}")
                migrate(self._connection, str(path))
                self._connection.execute("PRAGMA wal_autocheckpoint = 0")
                self._connection.execute("PRAGMA journal_size_limit = 0")  # see `Checkpointer`
                self._identity = identify(self._connection)
                self._last_id = self._find_last_id()
                self._words = Words(self._connection)
                self._rollups = RollupWriter(self._connection)
                self._remover = Remover(self._connection, retention, self._rollups)
                self._checkpoints = Checkpointer(path, synchronous=synchronous)
                opened.pop_all()
        except (sqlite3.Error, OSError) as error:
            raise StartupError(f"{path} can't be used as history: {error}") from None

    def _find_last_id(self) -> int:
        # Ids are never used again, not even when retention has removed the newest rows.
        query = """SELECT MAX(COALESCE((SELECT MAX(id) FROM invocations), 0),
                   COALESCE((SELECT SUM(success_count + failure_count) FROM totals), 0))"""
        last_id: int = self._connection.execute(query).fetchone()[0]
        return last_id

    def load(self) -> State:
        try:
            self._models.clear()
            self._last_id = self._find_last_id()
            return read_state(self._connection)
        except DAMAGE as error:
            raise StartupError(f"{self._path} can't be read: {error}") from None

    def commit(self, commit: Commit) -> list[str]:
        connection = self._connection
        self._checkpoints.give_way(len(commit.records))
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if self._has(commit):  # the last time it wasn't told so
                    self._last_id = self._find_last_id()
                    granted = self._labels_of(commit)
                    connection.execute("COMMIT")
                    return granted
                granted = self._write(commit)
                connection.execute("COMMIT")
            except BaseException:
                self._models.clear()  # they may hold what is rolled back now
                self._words.forget()
                self._rows = []
                with contextlib.suppress(sqlite3.Error):  # SQLite itself may have rolled back
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        self._last_id += len(commit.records)
        if commit.origin is not None:
            self._rollups.read_progress()
        failure_count = sum(totals.failure_count for totals in commit.totals.values())
        self._rollups.added((self._models[model_id] for model_id in commit.totals), self._rows, failure_count)
        self._rows = []
        self._checkpoints.committed()
        return granted

    @property
    def upkeep(self) -> Upkeep:
        """For any thread."""
        progress = self._rollups.progress
        waiting_rows = self._last_id - progress.last_id + progress.older_end_id - progress.older_id
        remover = self._remover
        return Upkeep(remover.removed_count, remover.oldest_us, waiting_rows, remover.removed_unread_bytes)

    @property
    def failures(self) -> list[str]:
        reason = self._checkpoints.failure
        return [] if reason is None else [f"the history's log can't be copied into its file: {reason}"]

    @property
    def identity(self) -> str:
        return self._identity

    def known(self, history: str, ids: Sequence[int]) -> list[bool]:
        if history == self._identity:
            return [row_id <= self._last_id for row_id in ids]
        return find_known(self._connection, history, ids)

    def read_unread(self, after_id: int, limit: int) -> list[UnreadRecord]:
        try:
            return read_unread(self._connection, after_id, limit)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def tend(self, now_us: int, *, busy: bool = False, aged_us: int | None = None) -> bool:
        self._checkpoints.give_way()
        try:
            more = self._rollups.step(self._last_id, now_us, busy=busy)
            more = more or self._remover.step(now_us if aged_us is None else aged_us)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        if more:
            self._checkpoints.committed()
        return more

    def _has(self, commit: Commit) -> bool:
        number: int = self._connection.execute("SELECT commits FROM books").fetchone()[0]
        return number >= commit.number

    def _labels_of(self, commit: Commit) -> list[str]:
        query = "SELECT labelled FROM models WHERE model_id = ?"
        rows = ((model_id, self._connection.execute(query, (model_id,)).fetchone()) for model_id in commit.totals)
        return [model_id for model_id, row in rows if row and row[0]]

    def _write(self, commit: Commit) -> list[str]:
        executemany = self._connection.executemany
        granted = self._number_models(commit)
        models = self._models
        if commit.records:
            batch = COLUMNS.batch(commit.records, models, self._words, self._last_id + 1)
            self._rows = batch.rolled_up if commit.origin is None else []
            executemany(batch.insert, batch.rows)
            executemany(_ADD_TOTALS, ((models[m], *totals_row(totals)) for m, totals in commit.totals.items()))
            errors = [
                (models[model_id], error_type, count)
                for model_id, totals in commit.totals.items()
                for error_type, count in totals.errors.items()
            ]
            executemany(_ADD_ERROR, errors)
            executemany(_ADD_USAGE, ((models[m], *totals.usage) for m, totals in commit.totals.items() if totals.usage))
        executemany(
            _ADD_COUNTER,
            ((name, label, value) for name, values in commit.counters.items() for label, value in values.items()),
        )
        executemany(
            "INSERT INTO gaps VALUES (?, ?, ?)",
            ((gap.producer_id, gap.first_sequence, gap.last_sequence) for gap in commit.gaps),
        )
        write_unread(self._connection, commit)
        if commit.origin is not None:
            write_origin(self._connection, commit.origin, self._last_id + len(commit.records))
        self._write_producers(commit)
        return granted

    def _write_producers(self, commit: Commit) -> None:
        connection = self._connection
        kept = {producer_id: producer for producer_id, producer in commit.producers.items() if producer is not None}
        gone = commit.producers.keys() - kept.keys()
        connection.executemany(
            _SET_PRODUCER, ((id_, *map(producer.__getattribute__, ACCOUNT_COLUMNS)) for id_, producer in kept.items())
        )
        connection.executemany("DELETE FROM producers WHERE producer_id = ?", ((producer_id,) for producer_id in gone))
        reread = commit.reread_retired_count
        accepted = sum(producer.accepted for producer in commit.retired) + reread
        unread = sum(producer.unread for producer in commit.retired) - reread
        missing = min(sum(producer.missing for producer in commit.retired), MAX_COUNT)
        time = None if commit.time is None else msgspec.msgpack.encode(commit.time)
        connection.execute(
            _ADD_RETIRED,
            (commit.number, len(commit.retired), accepted, missing, unread, commit.unread_dropped_count, time),
        )

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
                    "INSERT INTO models (model_id, labelled, created_us) VALUES (?, ?, ?) RETURNING model",
                    (model_id, labelled, commit.now_us),
                ).fetchone()
            self._models[model_id] = row[0]
        return granted

    def close(self) -> None:
        self._checkpoints.close()
        self._connection.close()  # the last one: SQLite copies the rest of the log, and removes it
