"""One keep-alive HTTP/1.1 connection to an upstream: a request out, its whole answer in, then the next.

A connection on which anything but one clean exchange happened is closed and never used again.
"""

import asyncio
import os
import select
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from invoker.http.answer_parser import (
    ANY_TIME_US,
    AnswerHead,
    AnswerParser,
    MalformedError,
    UnusableError,
    keepalive_us,
    parse_answer_head,
)
from invoker.http.heads import END, MAX_HEAD_BYTES
from invoker.http.pieces import Body
from invoker.upstream.exchange import BrokenError, WireExchange
from invoker.upstream.leaving import Leaving

MAX_JOINED_BYTES = 64 * 1024
"""A larger body is not copied to stand in one piece with its head."""


class Taker(Protocol):
    """Who is told what comes: an exchange, or what is left of it."""

    status: int

    def answered(self, status: int, headers: Mapping[bytes, bytes]) -> None: ...

    def feed(self, piece: bytes) -> None: ...

    def end(self, error: UnusableError | None = None) -> None: ...


class Connection(asyncio.Protocol):
    """One exchange at a time; `on_free` is called after each, when the next may begin if it is `reusable` then.
    `since_us` is for the pool; `idle_us`: how long it may be idle. `leaving`: where it is when nobody wants more."""

    def __init__(
        self, max_answer_bytes: int, on_free: "Callable[[Connection], None]", leaving: Leaving | None = None
    ) -> None:
        self.reusable = False
        self.since_us = 0
        self.idle_us = ANY_TIME_US
        self.max_answer_bytes = max_answer_bytes
        self._on_free = on_free
        self._leaving = leaving
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = select.poll()
        self._exchange: Taker | None = None
        self._parser: AnswerParser | None = None  # of an answer that is not plain
        self._head: AnswerHead | None = None  # of a plain answer whose body is not all here
        self._missing_bytes = 0
        self._paused = False

    def exchange(self, head: bytes, body: Body) -> WireExchange:
        """Send a request; its answer is to come."""
        exchange = WireExchange(self, self._loop.create_future())
        transport = self._transport
        if transport is None or transport.is_closing():
            exchange.end(BrokenError("upstream closed the connection without an answer"))
            return exchange
        self._exchange = exchange
        self.reusable = False
        if not isinstance(body, bytes):
            transport.writelines((head, *body))
        elif len(body) > MAX_JOINED_BYTES:
            transport.writelines((head, body))
        else:
            transport.write(head + body)
        return exchange

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: not even the end of the connection, which the
        event loop may not have read yet."""
        return self.reusable and not self._unread.poll(0)

    def leave(self) -> None:
        """The exchange's caller has all it wants; when the answer's end has come, too, the next exchange may begin."""
        rest = self._exchange = None if self._leaving is None else self._leaving.add(self)
        if rest is None:
            self.close()
        else:
            self.resume_reading()

    def close(self) -> None:
        """At once, what is not sent is dropped. Idempotent."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
            self.reusable = False

    def pause_reading(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
        self.reusable = True

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.close()  # nothing was asked for, or nobody waits any more
        elif self._head is not None:
            self._take_body(exchange, self._head, data)
        elif self._parser is not None or not self._take_plain(exchange, data):
            self._feed(exchange, data)

    def eof_received(self) -> None:
        if self._parser is not None and self._exchange is not None:
            self._parser.end()
            if self._parser.complete:
                self._complete(self._exchange, 0, keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._transport = None
        if self._exchange is not None:
            self._fail(self._exchange, self._broken_off(exc))

    # Its answers.

    def _take_plain(self, exchange: Taker, data: bytes) -> bool:
        """Begin, and mostly end, an answer whose whole head is here and plain; False for another."""
        end = data.find(END) + len(END)
        if not len(END) <= end <= MAX_HEAD_BYTES:
            return False
        head = parse_answer_head(data[:end])
        if head is None or head.content_length > self.max_answer_bytes:
            return False
        exchange.answered(head.status, head.fields)
        if len(data) == end + head.content_length:
            exchange.feed(data[end:])
            self._complete(exchange, head.idle_us, keep=not head.close)
        else:
            self._missing_bytes = head.content_length
            self._take_body(exchange, head, data[end:])
        return True

    def _take_body(self, exchange: Taker, head: AnswerHead, data: bytes) -> None:
        missing_bytes = self._missing_bytes = self._missing_bytes - len(data)
        if missing_bytes > 0:
            self._head = head
            exchange.feed(data)
        else:
            # More than the length that was stated is no part of this answer, and of no other.
            exchange.feed(data[:missing_bytes] if missing_bytes else data)
            self._complete(exchange, head.idle_us, keep=not head.close and not missing_bytes)

    def _feed(self, exchange: Taker, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = AnswerParser(self.max_answer_bytes)
        error: MalformedError | None = None
        try:
            parser.feed(data)
        except MalformedError as malformed:
            error = malformed
        if parser.started and not exchange.status:
            exchange.answered(parser.status, parser.fields)
        pieces, parser.body = parser.body, []
        if len(pieces) > 1 and len(data) <= MAX_JOINED_BYTES:
            pieces = [b"".join(pieces)]  # of a stream, what came together goes on together
        for piece in pieces:
            exchange.feed(piece)
        if error is not None:
            self._fail(exchange, error)
        elif parser.complete:
            self._complete(exchange, keepalive_us(parser.fields), keep=parser.keep_alive)

    def _complete(self, exchange: Taker, idle_us: int, *, keep: bool) -> None:
        self.idle_us = idle_us
        self._exchange = self._parser = self._head = None
        # An answer that came before the whole request was sent leaves the connection in between.
        transport = self._transport
        self.reusable = keep and transport is not None and transport.get_write_buffer_size() == 0
        self.resume_reading()
        exchange.end()
        self._on_free(self)

    def _broken_off(self, exc: Exception | None) -> BrokenError:
        """What the end of the connection means for the answer that is waited for."""
        reason = f": {os.strerror(exc.errno)}" if isinstance(exc, OSError) and exc.errno else ""
        head, parser = self._head, self._parser
        if head is not None:
            place = f"after {head.content_length - self._missing_bytes} of {head.content_length} bytes"
        elif parser is None:
            return BrokenError(f"upstream closed the connection without an answer{reason}")
        elif parser.started:
            place = parser.place
        else:
            place = "in its header"
        error = BrokenError(f"it broke off {place}{reason}")
        error.begun = True
        return error

    def _fail(self, exchange: Taker, error: UnusableError) -> None:
        self.close()
        exchange.end(error)
