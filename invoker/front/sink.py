"""Where an answer goes: to its caller, in one piece or bit by bit."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

from invoker.front.answering import Answering
from invoker.http.pieces import Body
from invoker.protocols.base import JSON
from shared.half_closed import HalfClosed

MAX_JOINED_BYTES = 64 * 1024
"""A larger answer is not copied to stand in one piece with its head."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class Dated(Protocol):
    """What a connection's sink needs of its worker; `date`: the header of that name."""

    answering: Answering
    date: bytes


class WireSink:
    """Implements `Sink` on a caller's own connection, for one answer after the other. `begun`: some of one has been
    sent, and more of it is to come. `last`: the connection ends with this one."""

    def __init__(self, listener: Dated) -> None:
        self.transport: asyncio.Transport | None = None
        self.begun = False
        self.last = False
        self._listener = listener
        self._status, self._headers, self._media_type = 0, b"", JSON.encode()
        self._half_closed: HalfClosed | None = None  # writes the answer that such a caller waits for
        self._full: asyncio.Future[None] | None = None

    def start(self, status: int, headers: bytes, media_type: bytes = JSON.encode()) -> None:
        self._status, self._headers, self._media_type = status, headers, media_type
        if self.begun and self.transport is not None:
            self.transport.abort()

    def put(self, piece: bytes) -> bool:
        if piece:
            head = b"" if self.begun else self._head(b"Transfer-Encoding: chunked")
            self.begun = True
            self._send(b"%b%x\r\n%b\r\n" % (head, len(piece), piece))
        return self._full is None

    async def write(self, piece: bytes) -> None:
        self.put(piece)
        if self._full is not None:
            await self._full

    def end(self, rest: Body) -> None:
        if self.begun:
            self.begun = False
            size = b"%x\r\n" % len(rest) if len(rest) else b""
            self._send(size, *_pieces(rest), b"\r\n0\r\n\r\n" if size else b"0\r\n\r\n")
        else:
            self._send_whole(rest)
        self._half_closed = None

    def _send_whole(self, rest: Body) -> None:
        head = self._head(b"Content-Length: %d" % len(rest))
        if isinstance(rest, bytes) and len(rest) <= MAX_JOINED_BYTES:
            self._send(head + rest)
        else:
            self._send(head, *_pieces(rest))

    def break_off(self, last: bytes) -> None:
        self.begun, self.last = False, True
        if last:
            self._send(b"%x\r\n%b\r\n" % (len(last), last))
        if self.transport is not None:
            self.transport.close()  # once it is sent, without the chunk that ends a body

    def pause(self) -> None:
        """The caller takes less than it is sent."""
        if self._full is None:
            self._full = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def await_half_closed(self) -> None:
        """The caller has closed its side: until it is answered, see whether it is still there."""
        if self.transport is not None:
            self._half_closed = HalfClosed(self.transport, in_chunks=self.begun)

    def _head(self, framing: bytes) -> bytes:
        self.last = self.last or self._listener.answering.closing
        return b"%bContent-Type: %b\r\n%b\r\n%b%b%b" % (
            _STATUS_LINES.get(self._status) or b"HTTP/1.1 %d \r\n" % self._status,
            self._media_type,
            framing,
            self._listener.date,
            self._headers,
            b"Connection: close\r\n\r\n" if self.last else b"\r\n",
        )

    def _send(self, first: bytes, *more: bytes | memoryview) -> None:
        """Unless the caller is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        writer = self._half_closed or transport
        if more:
            writer.writelines((first, *more))
        else:
            writer.write(first)


def _pieces(body: Body) -> Iterable[bytes | memoryview]:
    return (body,) if isinstance(body, bytes) else body
