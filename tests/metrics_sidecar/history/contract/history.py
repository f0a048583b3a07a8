"""One history that is open, beside the model of what was committed to it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec

from metrics_sidecar.files.line import Line, Records
from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, HistoryRow
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.transaction import Work
from shared.record import Record
from tests.metrics_sidecar.history.contract.backends import Factory
from tests.metrics_sidecar.history.contract.model import Answer, Model, Page, Question, as_record

PRODUCER = "0" * 32
LABELS = 4
"""So many models get a label, if nothing else is said."""
PAGE_ROWS = 1000
MAX_SLICES = 20_000
"""Many more than there are rows in any of these tests that has all done."""

_line = msgspec.json.Decoder(Line)


class History:
    """Commits go to both, the store and the model."""

    def __init__(self, factory: Factory, directory: Path, retention: Retention) -> None:
        self._factory = factory
        self._directory = directory
        self.model = Model()
        self._open(retention)

    def _open(self, retention: Retention) -> None:
        self._retention = retention
        self.backend = self._factory(self._directory, retention)
        self.writer = self.backend.open_writer()
        self.planner = Planner(self.writer.load())
        self.reader = self.backend.open_reader()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()

    def reopen(self, retention: Retention | None = None) -> None:
        """As after a restart of the sidecar, perhaps with another retention."""
        self.close()
        self._open(self._retention if retention is None else retention)

    def commit(self, *work: Work, labels: int = LABELS, now_us: int = 0) -> tuple[list[str], list[str]]:
        """One transaction; the models that should have got a label, and those that got one."""
        commit = self.planner.plan(work, now_us)
        commit.label_room = max(labels - self.model.label_count, 0)
        granted = self.writer.commit(commit)
        self.planner.applied(commit)
        return self.model.apply(commit), granted

    def add(self, records: Sequence[Record], labels: int = LABELS) -> None:
        """Commit them as one producer's next ones."""
        producer = self.planner.producer(PRODUCER)
        self.commit(Work(PRODUCER, producer.committed + 1 if producer else 1, [*records]), labels=labels)

    def tend(self, now_us: int) -> None:
        """All there is to do."""
        slices = 0
        while self.writer.tend(now_us, busy=False):
            slices += 1
            assert slices < MAX_SLICES, "it never ends"

    async def ask(self, question: Question) -> Answer:
        """The answer, as far as a model can know it: for ids, which a store makes, it has marks."""
        match question:
            case Ask():
                return await self.reader.aggregate(question)
            case HistoryQuery():
                found = await self.reader.page(question)
                self.model.note_ids(found.rows)
                next_ = None if found.next is None else self.model.place(found.next)
                return Page([*map(as_record, found.rows)], found.total_count, found.total_count_is_exact, next_)

    async def check(self, question: Question) -> Answer:
        """The answer, which is the right one."""
        found = await self.ask(question)
        assert (question, self.model.answer(question, found)) == (question, found)
        return found

    async def rows(self, wanted: HistoryFilter | None = None) -> list[HistoryRow]:
        """All that match, in the order of their commits."""
        rows: list[HistoryRow] = []
        query = HistoryQuery(filter=wanted or HistoryFilter(), limit=PAGE_ROWS)
        while True:
            page = await self.reader.page(query)
            self.model.note_ids(page.rows)
            rows += page.rows
            if page.next is None:
                return sorted(rows, key=lambda row: self.model.mark(row.id))
            query = msgspec.structs.replace(query, after=page.next)

    async def exported(self, wanted: Export) -> bytes:
        async with self.reader.rows(wanted) as chunks:
            return b"".join([chunk async for chunk in chunks])


@contextlib.asynccontextmanager
async def again_and_again(step: Callable[[], None]) -> AsyncIterator[None]:
    """Done on another thread meanwhile, which has ended then."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            step()

    running = asyncio.create_task(asyncio.to_thread(run))
    try:
        yield
    finally:
        ended.set()
        await running


def decode_lines(exported: bytes) -> list[tuple[str, Record]]:
    """The rows of an export as NDJSON: id, and the record that it was made of."""
    records = Records()
    lines = [_line.decode(line) for line in exported.splitlines()]
    return [(str(line.id), records.record(line)) for line in lines]
