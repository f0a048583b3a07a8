"""Parses HTTP/1.1 answers with llhttp (through httptools), which is strict: bare line feeds, two lengths, or a length
beside chunks are errors. Heads that came before are known again, and then nothing is parsed at all."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import httptools

from invoker.http.heads import KNOWN_HEADS

MAX_HEAD_BYTES = 64 * 1024
ANY_TIME_US = 86_400_000_000
IDLE_PART = 0.8
"""Of the time for which a server says that it keeps an idle connection: a request must not meet its end."""

_TIMEOUT = re.compile(rb"(?:^|[,; \t])timeout=([0-9]{1,5})(?![0-9])", re.IGNORECASE)


class UnusableError(Exception):
    """No whole answer came; the message says why."""


class MalformedError(UnusableError):
    """The answer is not HTTP/1.1 as it should be, or larger than allowed."""


class AnswerParser:
    """`feed` it until it is `complete`, or until the connection ends. `started`: a whole header has come;
    `fields`: what it says, by names in lower case. `body`: what has come of it, in the coding that it came in, since
    it was taken away."""

    def __init__(self, max_answer_bytes: int) -> None:
        self.status = 0
        self.started = False
        self.complete = False
        self.keep_alive = False
        self.fields: dict[bytes, bytes] = {}
        self._max_answer_bytes = max_answer_bytes
        self._parser = httptools.HttpResponseParser(self)
        self.body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._header_bytes = 0
        self._informational = False
        self._until_eof = True
        self._refused: MalformedError | None = None

    def feed(self, data: bytes) -> None:
        """`MalformedError` if the answer can't be taken."""
        if not self.started:
            self._head_bytes += len(data)  # of an unfinished line, the parser tells nothing
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise MalformedError("it switches protocols") from None
        except httptools.HttpParserError as error:
            if not self.complete:
                raise (self._refused or MalformedError(str(error))) from None
            self.keep_alive = False  # more came than was asked for: the answer is whole, the connection is not clean
        if self._refused is not None:
            raise self._refused
        if not self.started and self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()

    def end(self) -> None:
        """The connection has ended: that completes an answer of no stated length."""
        if self.started and self._until_eof:
            self.complete, self.keep_alive = True, False

    @property
    def place(self) -> str:
        """How far its body has come."""
        length = self.fields.get(b"content-length")
        if length is not None:
            return f"after {self._body_bytes} of {length.decode()} bytes"
        return f"after {self._body_bytes} bytes" + (", before its last chunk" if not self._until_eof else "")

    # httptools' callbacks; an exception in one of them stops it with an HttpParserError.

    def on_message_begin(self) -> None:
        if self.complete:
            raise MalformedError("there is more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            self._refused = _head_too_large()
        lower = name.lower()
        # Several of a name are one list (RFC 9110, 5.3).
        self.fields[lower] = self.fields[lower] + b", " + value if lower in self.fields else value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._informational = 100 <= self.status < 200
        if not self._informational:
            transfer_coding = self.fields.get(b"transfer-encoding", b"identity").lower()
            if transfer_coding not in (b"chunked", b"identity"):
                self._refused = MalformedError(
                    f"its Transfer-Encoding {transfer_coding[:32].decode('latin-1')!r} is not known"
                )
            self._until_eof = transfer_coding != b"chunked" and b"content-length" not in self.fields
            self.started = True
            self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self.body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > self._max_answer_bytes:
            self._refused = self._too_large()

    def on_message_complete(self) -> None:
        if self._informational:
            self.fields = {}  # 100 Continue and the like: the answer is still to come
        elif self._refused is None:
            self.complete = True

    def _too_large(self) -> MalformedError:
        return MalformedError(f"it is larger than {self._max_answer_bytes} bytes")


class AnswerHead(NamedTuple):
    """What matters of an answer: body bytes that follow, whether the connection ends with them, its headers by their
    names in lower case, and how long the connection may be idle behind it."""

    content_length: int
    status: int
    close: bool
    fields: dict[bytes, bytes]
    idle_us: int = ANY_TIME_US


@lru_cache(maxsize=KNOWN_HEADS)
def parse_answer_head(head: bytes) -> AnswerHead | None:
    """A head up to and including its empty line; None if the parser has to read on to tell where the answer ends, or if
    no body follows whatever the head says."""
    parser = AnswerParser(0)
    try:
        parser.feed(head)
    except MalformedError:
        return None
    length = parser.fields.get(b"content-length", b"")
    if not parser.started or not length.isdigit() or parser.complete != (int(length) == 0):
        return None
    return AnswerHead(int(length), parser.status, not parser.keep_alive, parser.fields, keepalive_us(parser.fields))


def keepalive_us(fields: Mapping[bytes, bytes]) -> int:
    """How long a connection may be idle and still be used, as its server has it (`Keep-Alive: timeout=5`)."""
    said = _TIMEOUT.search(fields.get(b"keep-alive", b""))
    return ANY_TIME_US if said is None else round(int(said[1]) * IDLE_PART * 1_000_000)


def _head_too_large() -> MalformedError:
    return MalformedError(f"its header is larger than {MAX_HEAD_BYTES} bytes")
