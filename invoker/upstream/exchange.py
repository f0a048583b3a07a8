"""One request to an upstream and its answer, whose head is known before its body is.

UnusableError      no whole answer came; the message says why
  BrokenError      the connection ended before the answer did
  MalformedError   what came is no answer that this client accepts (`http/answer_parser`)
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from invoker.http.answer_parser import MalformedError, UnusableError
from invoker.http.codings import (
    BrokenCodingError,
    TooLargeError,
    UnknownCodingError,
    Unpacking,
    decoded,
    streamed_coding,
)
from invoker.http.pieces import Body, add_piece, joined
from invoker.upstream.port import Give, UpstreamError, status_error
from shared.record import ErrorType

MAX_UNREAD_BYTES = 256 * 1024
"""Of a body whose pieces are wanted one by one; beyond them, nothing is read until some are taken."""


class BrokenError(UnusableError):
    """The connection ended before the answer did. `begun`: some of it had come."""

    begun = False


class Line(Protocol):
    """The connection that an exchange goes over."""

    max_answer_bytes: int

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def leave(self) -> None: ...

    def close(self) -> None: ...


class WireExchange:
    """Implements `Exchange`. Its connection tells it what comes, and no longer knows it once it is at its end.
    `opened`: done when the head is here; fails with an `UnusableError` if it doesn't come. `ended`: all of it is here,
    or no more will come; then `error` says why, if it wasn't aborted."""

    __slots__ = (
        "_give",
        "_line",
        "_pieces",
        "_unread_bytes",
        "_waiter",
        "_whole",
        "ended",
        "error",
        "headers",
        "opened",
        "status",
    )

    def __init__(self, line: Line, opened: asyncio.Future[None]) -> None:
        self.status = 0
        self.headers: Mapping[bytes, bytes] = {}
        self.opened = opened
        self._line = line
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._whole = False  # nothing less is wanted
        self.ended = False
        self.error: UnusableError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._give: Give | None = None

    # What comes.

    def answered(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        self.status, self.headers = status, headers
        if not self.opened.done():
            self.opened.set_result(None)

    def feed(self, piece: bytes) -> None:
        if self._give is not None and self._waiter is not None and not self._waiter.done():
            self._give_at_once(self._give, self._waiter, piece)
            return
        add_piece(self._pieces, piece)
        if not self._whole:
            self._unread_bytes += len(piece)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self._line.pause_reading()
            self._wake()

    def _give_at_once(self, give: Give, waiter: asyncio.Future[None], piece: bytes) -> None:
        try:
            if not give(piece):
                waiter.set_result(None)
        except Exception as error:  # noqa: BLE001  # is that of who waits, as if it had been given there
            waiter.set_exception(error)

    def end(self, error: UnusableError | None = None) -> None:
        """All is here, or no more will come."""
        self.ended = True
        if error is not None:
            self.error = error
            if not self.opened.done():
                self.opened.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What is wanted.

    def give(self, give: Give) -> None:
        if b"content-encoding" not in self.headers:
            self._give = give

    def chunks(self) -> AsyncGenerator[bytes]:
        coding = self.headers.get(b"content-encoding", b"")
        return self._unpacked(coding) if coding else self.packed_chunks()

    async def packed_chunks(self) -> AsyncGenerator[bytes]:
        """In the coding that they come in."""
        try:
            while self._pieces or not self.ended:
                if not self._pieces:
                    await self._wait()
                    if self._give is not None and not self._pieces:
                        yield b""
                for piece in self._take():
                    yield piece
            self._check()
        finally:
            self.abort()

    async def _unpacked(self, content_encoding: bytes) -> AsyncGenerator[bytes]:
        async with contextlib.aclosing(self.packed_chunks()) as pieces:
            try:
                coding = streamed_coding(content_encoding)
                unpacking = Unpacking(coding, self._line.max_answer_bytes) if coding else None
                async for piece in pieces:
                    for plain in (piece,) if unpacking is None else unpacking.feed(piece):
                        if plain:
                            yield plain
                        await asyncio.sleep(0)  # others have their turn, however much a little unpacks to
                if unpacking is not None:
                    unpacking.end()
            except (UnknownCodingError, BrokenCodingError, TooLargeError) as error:
                self.abort()
                raise self._coding_failure(error) from None

    async def whole(self) -> Body:
        if not self.ended:
            self._whole = True
            self._line.resume_reading()
            await self._wait()
        elif self.error is None and len(self._pieces) == 1 and b"content-encoding" not in self.headers:
            return self._pieces[0]  # as most are
        self._check()
        body = joined(self._pieces)
        return await self._decoded(body) if body and b"content-encoding" in self.headers else body

    def leave(self) -> None:
        if not self.ended:
            self.ended = True
            self._line.leave()

    def abort(self) -> None:
        if not self.ended:
            self.ended = True
            self._line.close()

    def _take(self) -> list[bytes]:
        pieces, self._pieces, self._unread_bytes = self._pieces, [], 0
        if not self.ended:
            self._line.resume_reading()
        return pieces

    async def _wait(self) -> None:
        """Until there is more of what is wanted."""
        self._waiter = self.opened.get_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise

    def _check(self) -> None:
        if self.error is not None:
            raise self._failure(self.error) from None

    def _failure(self, error: UnusableError) -> UpstreamError:
        if not 200 <= self.status < 300:
            return status_error(self.status, b"", self.headers, str(error))
        return UpstreamError(ErrorType.INVALID_RESPONSE, f"upstream's answer is not usable: {error}")

    async def _decoded(self, body: Body) -> Body:
        """A body in a coding, which was not asked for and some servers use all the same, without it."""
        pieces: list[bytes] = []
        packed = body if isinstance(body, bytes) else await asyncio.to_thread(b"".join, body)
        coding = self.headers[b"content-encoding"].decode("latin-1")
        try:
            for piece in decoded(packed, coding, self._line.max_answer_bytes):
                pieces.append(piece)
                await asyncio.sleep(0)  # others have their turn
        except (UnknownCodingError, BrokenCodingError, TooLargeError) as error:
            raise self._coding_failure(error) from None
        return joined(pieces)

    def _coding_failure(self, error: Exception) -> UpstreamError:
        message = str(error) or f"it is larger than {self._line.max_answer_bytes} bytes"  # of a TooLargeError
        return self._failure(MalformedError(message))
