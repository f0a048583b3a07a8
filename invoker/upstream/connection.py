"""One keep-alive HTTP/1.1 connection to an upstream: a request out, its whole answer in, then the next.

A connection on which anything but one clean exchange happened is closed and never used again.

    BrokenError      the connection ended before the answer did
    MalformedError   what came is no answer that this client accepts
"""

import asyncio
import os
import select
from typing import cast

from invoker.http.answer_parser import AnswerParser, MalformedError, UnusableError
from invoker.http.heads import END, MAX_HEAD_BYTES, MIN_PIECE_BYTES, AnswerHead, parse_answer_head
from invoker.http.pieces import joined
from invoker.upstream.port import Answer

MAX_JOINED_BYTES = 64 * 1024
"""A larger body is not copied to stand in one piece with its head."""


class BrokenError(UnusableError):
    """The connection ended before the answer did. `begun`: some of it had come."""

    begun = False


class Connection(asyncio.Protocol):
    """`exchange` is for one task at a time. `reusable` is true between clean exchanges; `since_us` is for the pool."""

    def __init__(self, max_answer_bytes: int) -> None:
        self.reusable = False
        self.since_us = 0
        self._max_answer_bytes = max_answer_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = select.poll()
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: AnswerParser | None = None  # of an answer that is not plain
        self._head: AnswerHead | None = None  # of a plain answer whose body is not all here
        self._body: list[bytes] = []
        self._missing_bytes = 0
        self._last_head: tuple[bytes, AnswerHead | None] = b"", None

    def exchange(self, head: bytes, body: bytes) -> asyncio.Future[Answer]:
        """Send a request; its answer is to come. Unless the connection is `reusable` then,
        whoever waits for it closes it."""
        answer = self._answer = self._loop.create_future()
        transport = self._transport
        if transport is None or transport.is_closing():
            answer.set_exception(BrokenError("upstream closed the connection without an answer"))
            return answer
        self.reusable = False
        if len(body) > MAX_JOINED_BYTES:
            transport.writelines((head, body))
        else:
            transport.write(head + body)
        return answer

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: not even the end of the connection, which the
        event loop may not have read yet."""
        return self.reusable and not self._unread.poll(0)

    def close(self) -> None:
        """At once, what is not sent is dropped. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
            self.reusable = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
        self.reusable = True

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nothing was asked for, or nobody waits any more
        elif self._head is not None:
            self._take_body(self._head, data)
        elif self._parser is not None or not self._take_plain(data):
            self._feed(data)

    def eof_received(self) -> None:
        if self._parser is not None:
            self._parser.end()
            self._check_complete(self._parser)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._transport = None
        self._fail(self._broken_off(exc))

    # Its answers.

    def _take_plain(self, data: bytes) -> bool:
        """Begin, and mostly end, an answer whose whole head is here and plain; False for another."""
        end = data.find(END) + len(END)
        if not len(END) <= end <= MAX_HEAD_BYTES:
            return False
        head_bytes = data[:end]
        # An upstream often sends the same head again and again, while its Date is the same.
        last_bytes, head = self._last_head
        if head_bytes != last_bytes:
            head = parse_answer_head(head_bytes)
            self._last_head = head_bytes, head
        if head is None or head.content_length > self._max_answer_bytes:
            return False
        missing_bytes = end + head.content_length - len(data)
        if missing_bytes > 0:
            self._head, self._body, self._missing_bytes = head, [data[end:]], missing_bytes
        else:
            body = data[end : end + head.content_length]
            self._complete((head.status, body, head.fields), keep=not head.close and not missing_bytes)
        return True

    def _take_body(self, head: AnswerHead, data: bytes) -> None:
        missing_bytes = self._missing_bytes = self._missing_bytes - len(data)
        piece = data if missing_bytes >= 0 else data[:missing_bytes]
        if len(self._body[-1]) < MIN_PIECE_BYTES:
            self._body[-1] += piece
        else:
            self._body.append(piece)
        if missing_bytes <= 0:
            # More than the length that was stated is no part of this answer, and of no other.
            body = joined(self._body)
            self._complete((head.status, body, head.fields), keep=not head.close and missing_bytes == 0)

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = AnswerParser(self._max_answer_bytes)
        try:
            parser.feed(data)
        except MalformedError as error:
            self._fail(error)
        else:
            self._check_complete(parser)

    def _check_complete(self, parser: AnswerParser) -> None:
        if parser.complete and self._answer is not None and not self._answer.done():
            self._complete((parser.status, parser.body(), parser.fields), keep=parser.keep_alive)

    def _complete(self, answer: Answer, *, keep: bool) -> None:
        if self._answer is not None:
            self._answer.set_result(answer)
            self._answer = self._parser = self._head = None
            self._body = []
            # An answer that came before the whole request was sent leaves the connection in between.
            transport = self._transport
            self.reusable = keep and transport is not None and transport.get_write_buffer_size() == 0

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

    def _fail(self, error: UnusableError) -> None:
        if self._answer is not None and not self._answer.done():
            if self._head is not None:
                error.head = self._head.status, self._head.fields
            elif self._parser is not None and self._parser.started:
                error.head = self._parser.status, self._parser.fields
            self._answer.set_exception(error)
        self.close()
