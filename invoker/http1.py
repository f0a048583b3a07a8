"""One keep-alive HTTP/1.1 connection to an upstream: a request out, its whole answer in, then the next.

llhttp (through httptools) parses strictly: bare line feeds, two lengths, or a length beside chunks are
errors. A connection on which anything but one clean exchange happened is closed and never used again.

    ExchangeError           no whole answer came
      BrokenError             the connection ended; `answered` tells whether an answer had begun
      MalformedError          what came is no answer that this client accepts
"""

import asyncio
import select
import zlib
from typing import cast

import httptools

MAX_HEAD_BYTES = 64 * 1024
ZLIB_OR_GZIP = 47  # zlib's window bits for "detect which"


class ExchangeError(Exception):
    """No whole answer came; the message says why."""


class BrokenError(ExchangeError):
    """The connection ended before the answer did. `answered`: a whole header had come."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class MalformedError(ExchangeError):
    """The answer is not HTTP/1.1 as it should be, or larger than allowed."""


HEAD_TOO_LARGE = MalformedError(f"its header is larger than {MAX_HEAD_BYTES} bytes")


class Connection(asyncio.Protocol):
    """`exchange` is for one task at a time. `reusable` is true between clean exchanges."""

    def __init__(self, max_answer_bytes: int) -> None:
        self.reusable = False
        self.idle_since_us = 0
        self._max_answer_bytes = max_answer_bytes
        self._transport: asyncio.Transport | None = None
        self._unread = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._start_answer()

    def _start_answer(self) -> None:
        self._status = 0
        self._body: list[bytes] = []
        self._encoding = b""
        self._body_bytes = 0
        self._head_bytes = 0
        self._header_bytes = 0
        self._head_complete = False
        self._informational = False
        self._completed = True
        self._until_eof = True
        self._keep_alive = False
        self._refused: MalformedError | None = None

    async def exchange(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Send a request and read its answer: status and body. If it is cancelled, the connection is closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise BrokenError("the connection was closed", answered=False)
        self.reusable = False
        self._start_answer()
        self._completed = False
        answer = self._answer = asyncio.get_running_loop().create_future()
        if len(body) > MAX_HEAD_BYTES:
            transport.writelines((head, body))
        else:
            transport.write(head + body)
        try:
            status, answer_body = await answer
        finally:
            self._answer = None
            if not self.reusable:
                self.close()
        return status, self._decode(answer_body) if self._encoding else answer_body

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
            self.close()  # nothing was asked for
            return
        if not self._head_complete:
            self._head_bytes += len(data)  # of an unfinished line, the parser tells nothing
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(MalformedError("it switches protocols"))
        except httptools.HttpParserError as error:
            self._fail(self._refused or MalformedError(str(error)))
        else:
            if self._refused is not None:
                self._fail(self._refused)
            elif not self._head_complete and self._head_bytes > MAX_HEAD_BYTES:
                self._fail(HEAD_TOO_LARGE)

    def eof_received(self) -> None:
        if self._head_complete and self._until_eof:
            self._complete(keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._transport = None
        answered = self._head_complete
        reason = f": {exc}" if exc else ""
        self._fail(BrokenError(f"{'its answer broke off' if answered else 'no answer'}{reason}", answered=answered))

    # httptools' callbacks; an exception in one of them surfaces as an HttpParserError.

    def on_message_begin(self) -> None:
        if self._completed:
            self._refused = MalformedError("there is more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            self._refused = HEAD_TOO_LARGE
        lower = name.lower()
        if lower == b"content-length" or (lower == b"transfer-encoding" and value.lower().endswith(b"chunked")):
            self._until_eof = False
        elif lower == b"content-encoding":
            self._encoding = value.lower()

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._informational = 100 <= self._status < 200
        if not self._informational:
            self._head_complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > self._max_answer_bytes:
            self._refused = self._too_large()

    def on_message_complete(self) -> None:
        if self._informational:
            self._until_eof = True  # 100 Continue and the like: the answer is still to come
        else:
            self._completed = True
            self._complete(keep=self._keep_alive)

    def _decode(self, body: bytes) -> bytes:
        """The body without a compression that was not asked for, which some servers use all the same."""
        if self._encoding in (b"gzip", b"x-gzip", b"deflate"):
            inflate = zlib.decompressobj(ZLIB_OR_GZIP)
            try:
                plain = inflate.decompress(body, self._max_answer_bytes + 1)
            except zlib.error as error:
                raise MalformedError(f"its compression is broken: {error}") from None
            if len(plain) > self._max_answer_bytes:
                raise self._too_large()
            if not inflate.eof:
                raise MalformedError("its compression breaks off")
            return plain
        if self._encoding != b"identity":
            raise MalformedError(f"content-encoding {self._encoding[:32]!r} was not asked for")
        return body

    def _too_large(self) -> MalformedError:
        return MalformedError(f"it is larger than {self._max_answer_bytes} bytes")

    def _complete(self, *, keep: bool) -> None:
        answer = self._answer
        if answer is not None and not answer.done() and self._refused is None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            answer.set_result((self._status, body))
            # An answer that came before the whole request was sent leaves the connection in between.
            transport = self._transport
            self.reusable = keep and transport is not None and transport.get_write_buffer_size() == 0

    def _fail(self, error: ExchangeError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
