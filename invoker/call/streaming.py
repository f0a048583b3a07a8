"""Streams: what comes of an upstream's answer goes on to the caller before all of it is here."""

import asyncio
import contextlib
import typing
from collections.abc import AsyncGenerator

from invoker.http.passing import answer_lines
from invoker.protocols.base import InvalidAnswerError, StreamReader
from invoker.upstream.port import Exchange, UpstreamError
from shared.record import ErrorType

EVENTS = b"text/event-stream"


class Sink(typing.Protocol):
    """Where a stream goes."""

    def start(self, status: int, headers: bytes, media_type: bytes) -> None:
        """The head; it is sent with the first piece."""
        ...

    async def write(self, piece: bytes) -> None:
        """Returns when its caller can take more."""
        ...


def is_stream(exchange: Exchange) -> bool:
    """Whether a whole answer isn't to be waited for: the upstream decides that."""
    return 200 <= exchange.status < 300 and exchange.headers.get(b"content-type", b"").lower().startswith(EVENTS)


async def relay(
    exchange: Exchange, reader: StreamReader, sink: Sink, id_line: bytes, idle_s: float | None = None
) -> bytes:
    """Sends on all but how the stream ends, which is returned. `InvalidAnswerError` if it ended before its answer,
    `UpstreamError` if it stood still for so long."""
    fields = exchange.headers
    sink.start(exchange.status, answer_lines(fields) + id_line, fields[b"content-type"])
    chunks = exchange.chunks()
    pieces = chunks if idle_s is None else _hurried(chunks, idle_s)
    async with contextlib.aclosing(chunks), contextlib.aclosing(pieces):
        async for chunk in pieces:
            if piece := reader.feed(chunk):
                await sink.write(piece)
            if reader.ended:
                return reader.held
    reader.end()
    if not reader.complete and not reader.ended:
        raise InvalidAnswerError("its stream ended before the answer did")
    return reader.held


async def _hurried(chunks: AsyncGenerator[bytes], idle_s: float) -> AsyncGenerator[bytes]:
    """Each within so long after the one before was taken."""
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(chunks, None)
        except TimeoutError:
            message = f"upstream's stream stood still for {idle_s:g} s"
            raise UpstreamError(ErrorType.TIMEOUT, message) from None
        if chunk is None:
            return
        yield chunk
