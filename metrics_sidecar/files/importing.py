"""Adds the lines of an export to a history: each row once, whatever is imported, how often, and in what order.

A row is identified by the history that it was exported from and its id there; which of them are here is kept there.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from metrics_sidecar.files.line import LineError, Records
from metrics_sidecar.files.reading import Lines, OnBad
from metrics_sidecar.history.writer import Writer
from metrics_sidecar.ledger.labelled import Labelled
from metrics_sidecar.ledger.planner import MAX_ERROR_TYPES, Planner
from metrics_sidecar.ledger.reckoning import Reckoning
from metrics_sidecar.ledger.times import Times
from metrics_sidecar.ledger.transaction import Commit, Origin
from shared.clock import Clock
from shared.record import Record

STORE_ID = re.compile("[0-9a-f]{32}")


class Rows(NamedTuple):
    """Rows of one history: their ids there, what they record, and the numbers of their lines."""

    ids: list[int]
    records: list[Record]
    numbers: list[int]


class Importer:
    """Counts what became of the lines: `added` now, or `known` from before; the others are told to `on_bad`.
    `outlived`: of those added, the ones before `kept_from_us`, which the history keeps no longer."""

    def __init__(self, open_history: Callable[[], "History"]) -> None:
        self.added = 0
        self.known = 0
        self.outlived = 0
        self.kept_from_us = 0
        self._open_history = open_history
        self._history: History | None = None
        self._records = Records()

    def add(self, lines: Lines, on_bad: OnBad) -> None:
        """All of them are committed then. `StoreError` if the store takes them not. The history is opened, or made,
        when there is a row for it: `StartupError` if it can't be used."""
        for source, rows in self._sort(lines, on_bad).items():
            if self._history is None:
                self._history = self._open_history()
                self.kept_from_us = self._history.kept_from_us
            self._add(self._history, source, rows, on_bad)

    def close(self) -> None:
        if self._history is not None:
            self._history.close()

    def _sort(self, lines: Lines, on_bad: OnBad) -> dict[str, Rows]:
        by_source: dict[str, Rows] = {}
        for line, number in zip(lines.lines, lines.numbers, strict=True):
            try:
                record = self._records.record(line)
                if (rows := by_source.get(line.store)) is None:
                    rows = by_source[line.store] = _begin(line.store)
            except LineError as error:
                on_bad(number, str(error))
                continue
            ids, records, numbers = rows
            ids.append(line.id)
            records.append(record)
            numbers.append(number)
        return by_source

    def _add(self, history: "History", source: str, rows: Rows, on_bad: OnBad) -> None:
        new = history.find_new(source, rows.ids)
        self.known += len(rows.ids) - len(new)
        if source == history.identity:
            for row_id, row in new.items():
                on_bad(rows.numbers[row], f"it is row {row_id} of this very store, which has none of this id")
        elif new:
            commit = history.add(Origin(source, [*new]), [rows.records[row] for row in new.values()])
            self._count(commit, {row_id: rows.numbers[row] for row_id, row in new.items()}, on_bad)

    def _count(self, commit: Commit, numbers: dict[int, int], on_bad: OnBad) -> None:
        self.added += len(commit.records)
        self.outlived += sum(record.timestamp_us < self.kept_from_us for record in commit.records)
        assert commit.origin is not None
        for row_id in numbers.keys() - commit.origin.ids:
            on_bad(numbers[row_id], f"error_type is unknown, and there are {MAX_ERROR_TYPES} already")


def _begin(source: str) -> Rows:
    if not STORE_ID.fullmatch(source):
        raise LineError(f"store is {source[:64]!r}; allowed: 32 hex digits")
    return Rows([], [], [])


class History:
    """The history that is added to, by its writer, which nobody else uses."""

    def __init__(self, writer: Writer, clock: Clock, max_models: int) -> None:
        self._writer = writer
        state = writer.load()
        self._planner = Planner(state)
        self._labelled = Labelled(state, max_models)
        self._reckoning = Reckoning(state.time, clock, state.arrived_us)
        self.identity = writer.identity
        self.kept_from_us = state.rows_from_us

    def find_new(self, source: str, ids: Sequence[int]) -> dict[int, int]:
        """Those that are not here yet, and where each comes first."""
        new: dict[int, int] = {}
        for row, (row_id, known) in enumerate(zip(ids, self._writer.known(source, ids), strict=True)):
            if not known:
                new.setdefault(row_id, row)
        return new

    def add(self, origin: Origin, records: Sequence[Record]) -> Commit:
        """Commit rows that are not here yet; without those that can't be taken."""
        reckoning = self._reckoning
        reckoning.look()
        times = Times(0, reckoning.latest_us, reckoning.arrival_us)
        commit = self._planner.plan_import(origin, records, reckoning.arrival_us, times)
        commit.time = reckoning.copy()
        commit.label_room = self._labelled.room
        self._labelled.grant(self._writer.commit(commit))
        self._planner.applied(commit)
        return commit

    def close(self) -> None:
        self._writer.close()
