"""Large bodies are read in a process beside the worker: to read 64 MiB of JSON takes seconds, in which no other call
would go on."""

import asyncio
import os
import socket
import subprocess
from collections import deque
from collections.abc import Iterable

import msgspec

from invoker.http.pieces import Body, Pieces
from invoker.protocols.asked import Asked
from invoker.protocols.base import (
    READ_TIMEOUT_S,
    BadRequestError,
    Call,
    InvalidAnswerError,
    Outcome,
    ReaderDiedError,
)
from invoker.protocols.large_body_process import (
    ANSWER,
    ASKED,
    FORM,
    INPUTS,
    MAX_MESSAGE_BYTES,
    OUTPUTS,
    REPORT,
    REQUEST,
    Counted,
    FoundReport,
    NoAnswer,
    ReadAnswer,
    ReadRequest,
    Refused,
    Result,
)
from shared import isolated, logs

MODULE = "invoker.protocols.large_body_process"
MAX_WAITING = 4
"""Bodies that the process has been given, each as a copy in memory, so that it never waits for one; others wait for a
place."""

log = logs.get("large_bodies")
_decoder: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


class LargeBodies:
    """Reads one body after the other. The process is started for the first, and again if it has ended.
    `failure`: why the last body could not be read, until one is."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(MAX_WAITING)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: deque[asyncio.Future[Result]] = deque()
        self._hanging: asyncio.TimerHandle | None = None

    async def decode_request(self, body: Body) -> Call:
        """As `worklet.decode_request`, or `ReaderDiedError`."""
        result = await self._read_request(REQUEST, body)
        assert isinstance(result, ReadRequest)
        passed = _pieces(body).part(result.skipped_bytes, len(body)) if result.skipped_bytes else body
        return Call(result.model_id, passed, result.input_size, tags=result.tags, name=result.name)

    async def decode_asked(self, body: Body) -> Asked:
        """As the function of that name, or `ReaderDiedError`."""
        return await self._asked(ASKED, body)

    async def decode_form(self, body: Body, boundary: bytes) -> Asked:
        """Likewise."""
        return await self._asked(FORM + boundary, body)

    async def _asked(self, kind: bytes, body: Body) -> Asked:
        result = await self._read_request(kind, body)
        assert isinstance(result, Asked)
        return result

    async def _read_request(self, kind: bytes, body: Body) -> Result:
        result = await self._read(kind, _pieces(body))
        if isinstance(result, Refused):
            raise BadRequestError(result.status, result.reason, result.message)
        return result

    async def decode_answer(self, body: Body) -> Outcome:
        """As `worklet.decode_answer`, or `ReaderDiedError`."""
        pieces = _pieces(body)
        result = await self._read(ANSWER, pieces)
        if isinstance(result, NoAnswer):
            raise InvalidAnswerError(result.message)
        assert isinstance(result, ReadAnswer)
        return Outcome(pieces.part(result.begin, result.end), result.output_size)

    async def find_report(self, body: Body) -> bytes:
        """As the function of that name, or `ReaderDiedError`."""
        result = await self._read(REPORT, _pieces(body))
        assert isinstance(result, FoundReport)
        return result.report

    async def input_elements(self, body: Body) -> int | None:
        """Likewise."""
        result = await self._read_request(INPUTS, body)
        assert isinstance(result, Counted)
        return result.elements

    async def output_elements(self, body: Body) -> int | None:
        """Likewise."""
        result = await self._read(OUTPUTS, _pieces(body))
        assert isinstance(result, Counted)
        return result.elements

    async def close(self) -> None:
        """The process ends as its socket does."""
        process = self._process
        self._drop("the worker ends")
        if process is not None:
            await asyncio.to_thread(process.wait)

    async def _read(self, kind: bytes, pieces: Iterable[bytes | memoryview]) -> Result:
        async with self._places:
            descriptor = await self._write(pieces)
            try:
                result = self._send(kind, descriptor)
            finally:
                os.close(descriptor)
            return await result

    async def _write(self, pieces: Iterable[bytes | memoryview]) -> int:
        writing = self._loop.run_in_executor(None, _written, pieces)
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(_close_written)
            raise

    def _send(self, kind: bytes, descriptor: int) -> "asyncio.Future[Result]":
        if self._socket is None:
            self._start()
        assert self._socket is not None
        result: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append(result)
        try:
            socket.send_fds(self._socket, [kind], [descriptor])
        except OSError as error:
            self._drop(os.strerror(error.errno or 0))
        if self._hanging is None:
            self._hanging = self._loop.call_later(READ_TIMEOUT_S, self._drop, "it hangs")
        return result

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(isolated.python(MODULE), stdin=theirs.fileno())
            except OSError as error:
                ours.close()
                self.failure = f"it can't be started: {os.strerror(error.errno or 0)}"
                raise
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours, self._receive, ours)

    def _receive(self, ours: socket.socket) -> None:
        try:
            message = ours.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            message = b""
            log.warning("large_bodies.broken", reason=os.strerror(error.errno or 0))
        if not message:
            self._drop("it ended")
            return
        self.failure = None
        result = self._waiting.popleft()
        if self._hanging is not None:
            self._hanging.cancel()
        waits = bool(self._waiting)
        self._hanging = self._loop.call_later(READ_TIMEOUT_S, self._drop, "it hangs") if waits else None
        if not result.done():
            result.set_result(_decoder.decode(message))

    def _drop(self, reason: str) -> None:
        """End the process; who waits for it is told, and the next body starts another."""
        ours, process = self._socket, self._process
        self._socket = self._process = None
        if self._hanging is not None:
            self._hanging.cancel()
            self._hanging = None
        if ours is not None:
            self._loop.remove_reader(ours)
            ours.close()
        if process is not None:
            process.kill()
            self._loop.run_in_executor(None, process.wait)
        if self._waiting:
            if self.failure is None:
                log.error("large_bodies.process_lost", reason=reason, bodies=len(self._waiting))
            self.failure = reason
        while self._waiting:
            result = self._waiting.popleft()
            if not result.done():
                result.set_exception(ReaderDiedError(f"the process that reads large bodies was lost: {reason}"))


def _pieces(body: Body) -> Pieces:
    return body if isinstance(body, Pieces) else Pieces([body])


def _written(pieces: Iterable[bytes | memoryview]) -> int:
    """A file in memory with these pieces. For a thread: `write` lets others run meanwhile."""
    descriptor = os.memfd_create("body")
    try:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                left = left[os.write(descriptor, left) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _close_written(writing: "asyncio.Future[int]") -> None:
    if not writing.cancelled() and writing.exception() is None:
        os.close(writing.result())
