"""Adds the lines of an export to a store, through the ledger, as if a gateway had sent them: each row once.

A row is identified by the store that it was exported from and its id there. For the ledger each such store is a
producer, whose sequence counts the rows that were added; which ids these had is kept beside them.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

from metrics_sidecar.ledger import Committed, Ledger
from metrics_sidecar.queries import StoreError
from metrics_sidecar.store.identity import identify
from metrics_sidecar.store.imports import ImportedIds, ImportStore, Marks
from metrics_sidecar.transaction import Work
from metrics_sidecar.transfer.line import Line, LineError, Records
from metrics_sidecar.transfer.reading import Lines, OnBad
from shared.clock import Clock
from shared.record import Record

STORE_ID = re.compile("[0-9a-f]{32}")


class Importer:
    """Counts what became of the lines: `added` now, or `known` from before; the others are told to `on_bad`."""

    def __init__(self, ledger: Ledger, store: ImportStore, own_id: str, failure: asyncio.Future[None]) -> None:
        self.added = 0
        self.known = 0
        self._ledger = ledger
        self._imported = ImportedIds(store)
        self._store = store
        self._own_id = own_id
        self._own_last_id = store.last_id()
        self._records = Records()
        self._sources: set[str] = set()
        self._failure = failure

    async def add(self, lines: Lines, on_bad: OnBad) -> None:
        """All of them are committed then. `StoreError` if the store takes them not."""
        by_source: dict[str, tuple[list[int], list[Record]]] = {}
        for line, number in zip(lines.lines, lines.numbers, strict=True):
            try:
                if line.store == self._own_id:
                    self._check_own(line)
                    continue
                record = self._records.record(line)
                if (found := by_source.get(line.store)) is None:
                    found = by_source[line.store] = _begin(line.store)
            except LineError as error:
                on_bad(number, str(error))
                continue
            found[0].append(line.id)
            found[1].append(record)
        for source, (ids, records) in by_source.items():
            await self._add(source, ids, records)

    async def finish(self) -> None:
        """The producers retire: nothing is known of them that the marks don't say."""
        for source in self._sources:
            await self._submit(Work(source, retire=True))

    def _check_own(self, line: Line) -> None:
        if line.id > self._own_last_id:
            raise LineError(f"it is row {line.id} of this very store, which has none of this id")
        self.known += 1

    async def _add(self, source: str, ids: list[int], records: list[Record]) -> None:
        new, chunks = self._imported.add(source, ids)
        added = [record for record, is_new in zip(records, new, strict=True) if is_new]
        self.known += len(records) - len(added)
        if not added:
            return
        self._sources.add(source)
        last = self._ledger.committed(source)
        self._store.expect(Marks(source, last + len(added), chunks))
        await self._submit(Work(source, last + 1, added))
        self.added += len(added)

    async def _submit(self, work: Work) -> None:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ledger.submit(
            Work(work.producer_id, work.first_sequence, work.records, None, work.retire, done.set_result)
        )
        await asyncio.wait((done, self._failure), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            self._failure.result()


def _begin(source: str) -> tuple[list[int], list[Record]]:
    if not STORE_ID.fullmatch(source):
        raise LineError(f"store is {source[:64]!r}; allowed: 32 hex digits")
    return [], []


@contextlib.asynccontextmanager
async def importing(path: Path, clock: Clock, max_models: int) -> AsyncIterator[Importer]:
    """An importer into this history, which is made if it isn't there. `StartupError` if it can't be used."""

    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ignore(_committed: Committed) -> None:
        """There are no views to tell."""

    def fail(reason: str) -> None:  # the ledger itself would try again and again
        if not failure.done():
            failure.set_exception(StoreError(reason))

    store = ImportStore(path)
    own_id = identify(path)
    ledger = Ledger(store, clock, max_models, ignore, fail)
    importer = Importer(ledger, store, own_id, failure)
    ledger.start()
    try:
        yield importer
        await importer.finish()
    finally:
        await ledger.close()
