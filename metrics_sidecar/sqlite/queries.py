"""Reads of the SQLite ledger: asked of a process of their own, so that they hold up neither commits nor requests."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec

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
from metrics_sidecar.history.windows import SeriesAnswer, SeriesQuery, Window, WindowAnswer
from metrics_sidecar.ledger.totals import ModelTotals
from metrics_sidecar.sqlite import questions
from metrics_sidecar.sqlite.questions import LENGTH, Answered, Asked, Question
from shared import isolated, logs
from shared.stillness import MICROSECONDS, Stillness

READING = "metrics_sidecar.sqlite.reading"
TICK_S = 1.0
STILL_S = 15.0
"""The process that reads is killed if it stands still for longer. A disk may be slow, and callers are told sooner."""

log = logs.get("queries")

Result = TypeVar("Result")

_page = msgspec.msgpack.Decoder(HistoryPage)
_row: msgspec.msgpack.Decoder[HistoryRow | None] = msgspec.msgpack.Decoder(HistoryRow | None)
_totals = msgspec.msgpack.Decoder(dict[str, ModelTotals])
_window = msgspec.msgpack.Decoder(WindowAnswer)
_series = msgspec.msgpack.Decoder(SeriesAnswer)


class SqliteQueries:
    """Implements `queries.Queries` on a file that a `SqliteStore` has created. The process is started with the first
    question, or by `start`, and once more if it has ended."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        """`timeout_s`: how long a read may take, its waiting for its turn included; None: as long as it takes."""
        self._path = path
        self._timeout_s = timeout_s
        self._starting = asyncio.Lock()
        self._reader: _Reader | None = None

    async def history(self, query: HistoryQuery) -> HistoryPage:
        return await self._ask(questions.History(query), _page)

    async def invocation(self, row_id: int) -> HistoryRow | None:
        return await self._ask(questions.Invocation(row_id), _row)

    async def totals(self, models: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, ModelTotals]:
        return await self._ask(questions.Totals((*models,), (*prefixes,)), _totals)

    async def window(self, window: Window, models: Sequence[str], prefixes: Sequence[str] = ()) -> WindowAnswer:
        return await self._ask(questions.InWindow(window, (*models,), (*prefixes,)), _window)

    async def series(self, query: SeriesQuery) -> SeriesAnswer:
        return await self._ask(questions.Series(query), _series)

    async def start(self) -> None:
        """Start the process, and wait until it answers, so that the first question doesn't wait for it."""
        with contextlib.suppress(StoreError):  # who asks is told
            await self.invocation(0)

    async def watch(self) -> None:
        """Keep the process running, until it ends, or stands still and is killed: then `StoreError` tells so."""
        reader = await self._running()
        loop = asyncio.get_running_loop()
        still = Stillness(reader.pid, round(loop.time() * MICROSECONDS), TICK_S)
        while not reader.ended.done():
            reader.ask_for_sign()
            await asyncio.wait([reader.ended], timeout=TICK_S)
            if still.check(reader.signs, round(loop.time() * MICROSECONDS)) > STILL_S:
                log.error("queries.process_stands_still", pid=reader.pid)
                reader.kill()
                await asyncio.wait([reader.ended])
        raise StoreError(reader.ended.result())

    def close(self) -> None:
        """Ends what is being read. Idempotent."""
        if self._reader is not None:
            self._reader.close()

    async def _running(self) -> "_Reader":
        async with self._starting:
            if self._reader is None or self._reader.has_ended:
                self._reader = await _Reader.start(self._path)
            return self._reader

    async def _ask(self, question: Question, decoder: msgspec.msgpack.Decoder[Result]) -> Result:
        """What it finds; reading ends when the time is over, or when the caller is cancelled."""
        waiting = _Waiting()
        try:
            async with asyncio.timeout(self._timeout_s):
                reader = await self._running()
                answered = await reader.ask(question, waiting)
        except TimeoutError:
            assert self._timeout_s is not None
            raise waiting.error_after(self._timeout_s) from None
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


class _Waiting:
    """For an answer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun_at: float | None = None
        self.answer: asyncio.Future[Answered] = self._loop.create_future()

    def take(self, answered: Answered) -> None:
        if answered.outcome == "begun":
            self._begun_at = self._loop.time()
        elif not self.answer.done():
            self.answer.set_result(answered)

    def error_after(self, timeout_s: float) -> StoreError:
        """Why there was none in this time. Only a search takes as long; and it must have had most of the time."""
        if self._begun_at is not None and self._loop.time() - self._begun_at > timeout_s / 2:
            return QueryTooLongError(f"it took longer than {timeout_s:g} s")
        return BusyError(f"other queries were read for {timeout_s:g} s")


class _Reader(asyncio.Protocol):
    """The process and the connection to it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.has_ended = False
        self.signs = 0
        self._asked_at_sign = -1
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._process = process
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, path: Path) -> "_Reader":
        try:
            ours, its = socket.socketpair()
        except OSError as error:
            raise StoreError(f"the process that reads the history can't be asked: {error.strerror}") from None
        with its:
            command = isolated.python(READING, str(path))
            try:
                process = subprocess.Popen(command, stdin=its.fileno())  # noqa: ASYNC220 - until it is forked
            except OSError as error:
                ours.close()
                raise StoreError(f"the process that reads the history can't be started: {error.strerror}") from None
        _, reader = await asyncio.get_running_loop().create_connection(lambda: cls(process), sock=ours)
        return reader

    async def ask(self, question: Question, waiting: _Waiting) -> Answered:
        """Its answer; once nobody waits for it any more, nothing more is read for it."""
        if self.has_ended:
            raise StoreError("the process that reads the history has ended")
        number = next(self._numbers)
        self._waiting[number] = waiting
        self._transport.write(questions.encode(Asked(number, question)))
        try:
            return await waiting.answer
        finally:
            del self._waiting[number]
            if waiting.answer.cancelled() and not self.has_ended:
                self._transport.write(questions.encode(Asked(number, None)))

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask_for_sign(self) -> None:
        """Unless it owes one: `signs` counts whatever comes."""
        if not self.has_ended and self._asked_at_sign != self.signs:
            self._asked_at_sign = self.signs
            self._transport.write(questions.encode(Asked(questions.SIGN, None)))

    def kill(self) -> None:
        """It only reads: nothing is lost."""
        self._process.kill()

    def close(self) -> None:
        self.has_ended = True
        self.kill()
        self._process.wait()
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self.signs += 1
        self._received += data
        while len(self._received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                return
            answered = questions.decode_answered(self._received[LENGTH.size : end])
            del self._received[:end]
            if waiting := self._waiting.get(answered.number):
                waiting.take(answered)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._ending = asyncio.get_running_loop().create_task(self._note_end())

    async def _note_end(self) -> None:
        self._process.kill()  # in case it has only left the socket
        code = await asyncio.to_thread(self._process.wait)
        log.error("queries.process_ended", code=code, waiting=len(self._waiting))
        reason = f"the process that reads the history has ended with {code}"
        self.ended.set_result(reason)
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(StoreError(reason))
