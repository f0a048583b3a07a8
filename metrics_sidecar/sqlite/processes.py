"""Processes that read the history: each is lent to one who asks, and asked by nobody else meanwhile."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.sqlite import questions
from metrics_sidecar.sqlite.questions import Answered, Asked, Question
from shared import isolated, logs
from shared.framing import LENGTH

READING = "metrics_sidecar.sqlite.reading"
START_S = 60.0  # a busy machine takes its time
STILL_S = 15.0
"""A process is killed if it stands still for longer. A disk may be slow, and callers are told sooner."""
IDLE = 2
"""So many are kept that nobody asks anything."""

log = logs.get("queries")


class Process:
    """One that reads, and the connection to it. Killing it loses nothing."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.is_asked = False
        self.piece = b""
        self._process = process
        self._reader, self._writer = reader, writer

    @classmethod
    async def start(cls, path: Path) -> "Process":
        """One that answers; `StoreError` if it can't be started."""
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
        started = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            await started.check(START_S)
        except BaseException:
            started.close()
            raise
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._reader.at_eof() or self._process.poll() is not None

    def ask(self, question: Question, seconds: float | None = None) -> None:
        self.is_asked = True
        self._writer.write(questions.encode(Asked(question, seconds)))

    async def answer(self) -> Answered:
        """The next `piece`, or the end. `StoreError` if the process ends first."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            answered = questions.decode_answered(await self._reader.readexactly(length))
            self.piece = await self._reader.readexactly(answered.size)
        except (asyncio.IncompleteReadError, OSError):
            raise await self.end() from None
        self.is_asked = answered.outcome == "piece"
        return answered

    async def check(self, within_s: float) -> None:
        """That it answers; it ends if it doesn't, and `StoreError` tells so."""
        self.ask(questions.Sign())
        try:
            async with asyncio.timeout(within_s):
                await self.answer()
        except TimeoutError:
            log.error("queries.process_stands_still", pid=self.pid)
            raise await self.end() from None

    async def leave(self) -> None:
        """What is being read is no longer of interest: it ends, or the process does."""
        self._writer.write(questions.encode(Asked()))
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(STILL_S):
                while self.is_asked:
                    await self.answer()
        if self.is_asked and not self.has_ended:
            log.error("queries.process_stands_still", pid=self.pid)

    async def end(self) -> StoreError:
        """It may have left the socket only. What is to be told of it."""
        is_closed = self._writer.is_closing()
        code = await self.stop()
        if not is_closed:
            log.error("queries.process_ended", code=code)
        return StoreError(f"the process that reads the history has ended with {code}")

    async def stop(self) -> int:
        """Now; and with what code. It may have much memory to give back."""
        self._process.kill()
        self.is_asked = False
        self._writer.close()
        code = self._process.poll()
        return await asyncio.shield(asyncio.to_thread(self._process.wait)) if code is None else code

    def close(self) -> None:
        """Now. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._writer.close()


class Processes:
    """Those of one history: started when they are asked for. The event loop's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[Process] = []
        self._lent: set[Process] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lend(self, *, once: bool = False) -> AsyncIterator[Process]:
        """One that is asked nothing; `once`: one that ends then. What it still reads at the end is left."""
        process = await Process.start(self._path) if once or not self._idle else self._idle.pop()
        if process.has_ended:
            process.close()
            process = await Process.start(self._path)
        self._lent.add(process)
        try:
            yield process
        finally:
            if process.is_asked and not once:
                self._leaving.add(task := asyncio.create_task(self._leave(process)))
                task.add_done_callback(self._leaving.discard)
            else:
                await self._take_back(process, once=once)

    async def check(self) -> None:
        """That one can be started, and answers; of those that are idle, the one that was asked longest ago. Otherwise
        `StoreError` says why not."""
        for process in self._idle:
            if process.has_ended:
                self._idle.remove(process)
                raise await process.end()
        self._idle.reverse()
        async with self.lend() as process:
            await process.check(STILL_S)

    def close(self) -> None:
        """End what is being read. Idempotent."""
        for process in (*self._idle, *self._lent):
            process.close()
        self._idle.clear()
        self._lent.clear()

    async def _leave(self, process: Process) -> None:
        await process.leave()
        await self._take_back(process, once=process.is_asked)

    async def _take_back(self, process: Process, *, once: bool) -> None:
        try:
            if once or process.has_ended or len(self._idle) >= IDLE:
                await process.stop()
            else:
                self._idle.append(process)
        finally:
            self._lent.discard(process)
