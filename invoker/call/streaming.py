"""Streams: what comes of an upstream's answer goes on to the caller before all of it is here."""

import asyncio
import contextlib
import typing
from collections.abc import AsyncGenerator
from functools import partial

from invoker.http.passing import answer_lines
from invoker.protocols.base import InvalidAnswerError, StreamReader
from invoker.upstream.port import Exchange, Give, UpstreamError
from shared.record import ErrorType

EVENTS = b"text/event-stream"


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
    hurry = Hurry(idle_s)

    if (put := sink.put) is not None:
        exchange.give(partial(_pass_on, reader, hurry, put))
    async with contextlib.aclosing(exchange.chunks()) as chunks, hurry.hurrying():
        async for chunk in chunks:
            piece = reader.feed(chunk) if chunk else b""
            if piece or not chunk:
                hurry.rest()
                await sink.write(piece)
            hurry.more()
            if reader.ended:
                return reader.held
    reader.end()
    if not reader.complete and not reader.ended:
        raise InvalidAnswerError("its stream ended before the answer did")
    return reader.held


def _pass_on(reader: StreamReader, hurry: "Hurry", put: Give, chunk: bytes) -> bool:
    """What comes is sent on in the turn in which it came: no task has to have another for it."""
    hurry.more()
    piece = reader.feed(chunk)
    return (not piece or put(piece)) and not reader.ended


class Hurry:
    """Ends a wait for more of a stream that takes too long, with one timer, however often more comes."""

    def __init__(self, idle_s: float | None) -> None:
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def more(self) -> None:
        """Some has come, and more is waited for."""
        self._since_s = self._loop.time()

    def rest(self) -> None:
        """Until `more`, others are waited for."""
        self._since_s = float("inf")

    @contextlib.asynccontextmanager
    async def hurrying(self) -> AsyncGenerator[None]:
        """`UpstreamError` if nothing comes for so long."""
        if self._idle_s is None:
            yield
            return
        try:
            async with asyncio.timeout(None) as limit:
                self._look(limit, self._idle_s)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"upstream's stream stood still for {self._idle_s:g} s"
            raise UpstreamError(ErrorType.TIMEOUT, message) from None
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _look(self, limit: asyncio.Timeout, idle_s: float) -> None:
        left_s = self._since_s + idle_s - self._loop.time()
        if left_s <= 0:
            limit.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_later(min(left_s, idle_s), self._look, limit, idle_s)
