"""Reads of the SQLite ledger: asked of processes beside this one, so that they hold up neither commits nor requests."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec

from metrics_sidecar.history.aggregate import Ask, Table
from metrics_sidecar.history.exports import Export, ExportsBusyError
from metrics_sidecar.history.queries import (
    BusyError,
    HistoryPage,
    HistoryQuery,
    HistoryRow,
    NotBuiltError,
    QueryTooLongError,
    StoreError,
    TooManyModelsError,
)
from metrics_sidecar.sqlite import questions
from metrics_sidecar.sqlite.processes import Process, Processes
from metrics_sidecar.sqlite.questions import Answered, Question

QUICK, SEARCHES, EXPORTS = 2, 2, 2
"""How many are read at one time: reads that may take seconds leave room to those that take milliseconds."""
QUICK_S = 0.5
"""What takes longer is begun anew as a search."""
GRACE_S = 1.0
"""A process ends what it reads by itself; if it doesn't so long after the time is over, nobody waits for it."""
DEEP = 5000
"""Rows to skip: each is passed over."""
TICK_S = 1.0

Result = TypeVar("Result")

_page = msgspec.msgpack.Decoder(HistoryPage)
_row: msgspec.msgpack.Decoder[HistoryRow | None] = msgspec.msgpack.Decoder(HistoryRow | None)
_table = msgspec.msgpack.Decoder(Table)


def is_search(question: Question) -> bool:
    """Whether it may take seconds on millions of rows, as far as it tells."""
    match question:
        case questions.Page(query):
            return query.filter.reads_rows or query.offset > DEEP
        case questions.Aggregate(ask):
            return bool(ask.step_minutes and ask.by and (ask.prefixes or not ask.models))
    return False


class SqliteReader:
    """Implements `reader.Reader` on a file that a `SqliteWriter` has created."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        """`timeout_s`: how long a read may take, its waiting for its turn included; None: as long as it takes."""
        self._processes = Processes(path)
        self._timeout_s = timeout_s
        self._exports = 0
        self._quick, self._searches = asyncio.Semaphore(QUICK), asyncio.Semaphore(SEARCHES)

    async def page(self, query: HistoryQuery) -> HistoryPage:
        return await self._ask(questions.Page(query), _page)

    async def one(self, row_id: str) -> HistoryRow | None:
        return await self._ask(questions.One(row_id), _row)

    async def aggregate(self, ask: Ask) -> Table:
        return await self._ask(questions.Aggregate(ask), _table)

    @contextlib.asynccontextmanager
    async def rows(self, wanted: Export) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `Reader.rows`: each has a process of its own, which is gone when its caller is."""
        if self._exports >= EXPORTS:
            raise ExportsBusyError(f"{EXPORTS} exports are running")
        self._exports += 1
        try:
            async with contextlib.AsyncExitStack() as stack:
                yield self._pieces(wanted, stack)
        finally:
            self._exports -= 1

    async def start(self) -> None:
        """Start a process, and wait until it answers, so that the first question doesn't wait for it."""
        with contextlib.suppress(StoreError):  # who asks is told
            await self.one("")

    async def watch(self) -> None:
        """See that questions can be answered, as long as they can: then `StoreError` tells why not."""
        while True:
            await self._processes.check()
            await asyncio.sleep(TICK_S)

    def close(self) -> None:
        """Ends what is being read. Idempotent."""
        self._processes.close()

    async def _pieces(self, wanted: Export, stack: contextlib.AsyncExitStack) -> AsyncIterator[bytes]:
        """Until it has ended; `StoreError` if it ended early, or can't be started."""
        process = await stack.enter_async_context(self._processes.lend(once=True))
        process.ask(questions.File(wanted))
        while (answered := await process.answer()).outcome == "piece":
            yield process.piece
        if answered.outcome != "found":
            raise StoreError(answered.reason)

    async def _ask(self, question: Question, decoder: msgspec.msgpack.Decoder[Result]) -> Result:
        """What it finds; reading ends when the time is over, or when the caller is cancelled."""
        until = None if self._timeout_s is None else asyncio.get_running_loop().time() + self._timeout_s
        answered = None if is_search(question) else await self._answer(question, until, self._quick, QUICK_S)
        if answered is None:
            answered = await self._answer(question, until, self._searches)
        if answered is None:
            raise QueryTooLongError(f"it took longer than {self._timeout_s:g} s")
        match answered.outcome:
            case "not built":
                raise NotBuiltError(answered.reason)
            case "too many models":
                raise TooManyModelsError(answered.reason)
            case "store":
                raise StoreError(answered.reason)
            case "defect":
                raise RuntimeError(answered.reason)
        return decoder.decode(answered.found)

    async def _answer(
        self, question: Question, until: float | None, turn: asyncio.Semaphore, most_s: float = math.inf
    ) -> Answered | None:
        """None if it took longer than `most_s`, or than it may. `BusyError` if its turn came too late to tell."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until):
                await turn.acquire()
        except TimeoutError:
            raise self._busy() from None
        try:
            async with self._processes.lend() as process:
                left_s = math.inf if until is None else until - loop.time()
                answered = await _ask_within(process, question, min(left_s, most_s))
        finally:
            turn.release()
        if answered is None and self._timeout_s is not None and left_s < min(most_s, self._timeout_s / 2):
            raise self._busy()
        return answered

    def _busy(self) -> BusyError:
        return BusyError(f"it had no turn within {self._timeout_s:g} s")


async def _ask_within(process: Process, question: Question, seconds: float) -> Answered | None:
    """None once the time is over."""
    limit_s = None if math.isinf(seconds) else seconds
    process.ask(question, limit_s)
    try:
        async with asyncio.timeout(None if limit_s is None else limit_s + GRACE_S):
            answered = await process.answer()
    except TimeoutError:
        return None
    return None if answered.outcome == "too long" else answered
