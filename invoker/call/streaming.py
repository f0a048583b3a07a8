"""Streams: what comes of an upstream's answer goes on to the caller before all of it is here."""

import asyncio
import contextlib
import typing
from functools import partial

from invoker.call.ending import UntakenError
from invoker.call.stream_timer import StreamTimer
from invoker.http.passing import answer_lines
from invoker.protocols.base import InvalidAnswerError, StreamReader
from invoker.upstream.port import Exchange, Give
from shared.clock import Clock


class Sink(typing.Protocol):
    """Where a stream goes."""

    def start(self, status: int, headers: bytes, media_type: bytes) -> None:
        """The head; it is sent with the first piece."""
        ...

    @property
    def put(self) -> Give | None:
        """As `write`, without waiting, if it can do that: whether its caller can take more."""
        ...

    async def write(self, piece: bytes) -> None:
        """Returns when its caller can take more."""
        ...


async def relay(
    exchange: Exchange, reader: StreamReader, sink: Sink, id_line: bytes, clock: Clock, timer: StreamTimer | None
) -> bytes:
    """Sends on all but how the stream ends, which is returned. `InvalidAnswerError` if it ended before its answer."""
    fields = exchange.headers
    sink.start(exchange.status, answer_lines(fields) + id_line, fields[b"content-type"])
    if timer is not None:
        timer.follow(reader)
    if (put := sink.put) is not None:
        exchange.give(partial(_pass_on, reader, clock, timer, put))
    async with contextlib.aclosing(exchange.chunks()) as chunks:
        async for chunk in chunks:
            piece = reader.feed(chunk, clock.monotonic_us()) if chunk else b""
            if piece or not chunk:
                if timer is not None:
                    timer.rest()
                await _write(sink, piece)
            if timer is not None:
                timer.more()
            if reader.ended:
                exchange.leave()
                return reader.held
    reader.end(clock.monotonic_us())
    if not reader.complete and not reader.ended:
        raise InvalidAnswerError("its stream ended before the answer did")
    return reader.held


async def _write(sink: Sink, piece: bytes) -> None:
    """Whoever is cancelled here waits for its caller, and for no upstream."""
    try:
        await sink.write(piece)
    except asyncio.CancelledError:
        raise UntakenError from None


def _pass_on(reader: StreamReader, clock: Clock, timer: StreamTimer | None, put: Give, chunk: bytes) -> bool:
    """What comes is sent on in the turn in which it came: no task has to have another for it."""
    if timer is not None:
        timer.more()
    piece = reader.feed(chunk, clock.monotonic_us())
    return (not piece or put(piece)) and not reader.ended
