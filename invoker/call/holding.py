"""A stream that may yet be another model's: its caller gets nothing of it before its first output."""

import typing

from invoker.call.streaming import Sink
from invoker.protocols.base import StreamReader
from invoker.upstream.port import Give

MAX_HELD_BYTES = 64 * 1024
"""What has no output after so much goes on all the same, and is its caller's answer then."""


class HeldSink:
    """Implements `Sink`. `passed`: some of it has gone on."""

    def __init__(self, sink: Sink, reader: StreamReader) -> None:
        self.passed = False
        self._sink = sink
        self._reader = reader
        self._head: tuple[int, bytes, bytes] = (0, b"", b"")
        self._held = bytearray()

    def start(self, status: int, headers: bytes, media_type: bytes) -> None:
        self._head = status, headers, media_type

    @property
    def put(self) -> Give | None:
        put: typing.Final = self._sink.put
        return None if put is None else lambda piece: put(self._next(piece))

    async def write(self, piece: bytes) -> None:
        await self._sink.write(self._next(piece))

    def take(self) -> bytes:
        """What has not gone on, and comes before what is left."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def _next(self, piece: bytes) -> bytes:
        """What goes on now."""
        if self.passed:
            return piece
        self._held += piece
        if self._reader.first_output_us is None and len(self._held) < MAX_HELD_BYTES:
            return b""
        if not self._held:
            return b""
        self.passed = True
        self._sink.start(*self._head)
        return self.take()
