"""Adds the lines of an export to a store, through the ledger, as if a gateway had sent them: each row once.

A row is identified by the store that it was exported from and its id there. For the ledger each such store is a
producer, whose sequence counts the rows that were added; which ids these had is kept beside them.
"""

import asyncio
import dataclasses
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metrics_sidecar.files.line import LineError, Records
from metrics_sidecar.files.reading import Lines, OnBad
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite.identity import identify
from metrics_sidecar.sqlite.imports import ImportedIds, ImportStore, Marks
from shared.clock import Clock
from shared.record import Record

STORE_ID = re.compile("[0-9a-f]{32}")


class Rows(NamedTuple):
    """Rows of one store: their ids there, what they record, and the numbers of their lines."""

    ids: list[int]
    records: list[Record]
    numbers: list[int]


class Added(NamedTuple):
    """How many rows are in the history by now: new ones, of which so many are older than what it keeps, and others."""

    added: int
    outlived: int
    known: int


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

    async def add(self, lines: Lines, on_bad: OnBad) -> None:
        """All of them are committed then. `StoreError` if the store takes them not. The history is opened, or made,
        when there is a row for it: `StartupError` if it can't be used."""
        for source, rows in self._sort(lines, on_bad).items():
            if self._history is None:
                self._history = self._open_history()
                self.kept_from_us = self._history.kept_from_us
            if source == self._history.own_id:
                self._check_own(rows, self._history.own_last_id, on_bad)
            else:
                await self._history.add(source, rows, self._count)
        await asyncio.sleep(0)  # it may be cancelled where there is nothing new, too

    async def close(self) -> None:
        """What was submitted is committed and counted then, also where `add` was cancelled; or `StoreError`."""
        if self._history is not None:
            try:
                await self._history.retire()
            finally:
                await self._history.close()

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

    def _check_own(self, rows: Rows, last_id: int, on_bad: OnBad) -> None:
        for row_id, number in zip(rows.ids, rows.numbers, strict=True):
            if row_id > last_id:
                on_bad(number, f"it is row {row_id} of this very store, which has none of this id")
            else:
                self.known += 1

    def _count(self, done: Added) -> None:
        self.added += done.added
        self.outlived += done.outlived
        self.known += done.known


def _begin(source: str) -> Rows:
    if not STORE_ID.fullmatch(source):
        raise LineError(f"store is {source[:64]!r}; allowed: 32 hex digits")
    return Rows([], [], [])


class History:
    """The store that is added to, with its ledger. The event loop's."""

    def __init__(self, path: Path, clock: Clock, max_models: int) -> None:
        """Open or create the file; `StartupError` if it can't be used."""
        self._store = ImportStore(path)
        self._imported = ImportedIds(self._store)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sources: set[str] = set()
        self.own_id = identify(path)
        self.own_last_id = self._store.last_id()
        self.kept_from_us = self._store.kept_from_us()
        self._ledger = Ledger(self._store, clock, max_models, _tell_no_view, self._fail, live=False)
        self._ledger.start()

    async def add(self, source: str, rows: Rows, on_added: Callable[[Added], None]) -> None:
        """Commit what is new. Cancelled, it may be committed nevertheless; told it is in any case."""
        new, chunks = self._imported.add(source, rows.ids)
        added = rows.records if all(new) else [*itertools.compress(rows.records, new)]
        outlived = sum(record.timestamp_us < self.kept_from_us for record in added) if self.kept_from_us else 0
        done = Added(len(added), outlived, len(new) - len(added))
        if not added:
            on_added(done)
            return
        self._sources.add(source)
        last = self._ledger.committed(source)
        self._store.expect(Marks(source, last + len(added), chunks))
        await self._submit(Work(source, last + 1, added), lambda: on_added(done))

    async def retire(self) -> None:
        """The producers do: nothing is known of them that the marks don't say."""
        for source in self._sources:
            await self._submit(Work(source, retire=True), lambda: None)

    async def close(self) -> None:
        await self._ledger.close()

    async def _submit(self, work: Work, on_committed: Callable[[], None]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish(_last_sequence: int) -> None:
            on_committed()
            done.set_result(None)

        self._ledger.submit(dataclasses.replace(work, done=finish))
        await asyncio.wait((done, self._failure), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            self._failure.result()

    def _fail(self, reason: str) -> None:  # the ledger itself would try again and again
        if not self._failure.done():
            self._failure.set_exception(StoreError(reason))


def _tell_no_view(_committed: Committed) -> None:
    """There are none."""
