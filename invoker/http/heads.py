"""Heads of plain HTTP/1.1 requests, which are answered here; all others are for aiohttp.

Plain means that nothing leaves a doubt where the request ends (RFC 9112): one Content-Length in digits, no
Transfer-Encoding, no field twice, a connection that is kept or closed. What llhttp refuses is not plain either.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import httptools

from invoker.http.passing import FALLBACK, PRIORITY, TAG
from invoker.http.request_id import parse_request_id
from invoker.http.trace import Trace, parse_trace
from shared.head_rules import HOST

END = b"\r\n\r\n"
MAX_HEAD_BYTES = 8 * 1024
"""A longer head is for the real parsers, and their limits."""
KNOWN_HEADS = 512
"""Most peers send the same head again and again: so many are known, of requests and of answers, and not parsed anew."""

_LENGTH = re.compile(rb"[0-9]{1,15}")
_NOT_PLAIN = frozenset(
    (b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"proxy-connection", b"origin")
)
"""Origin is a browser's, which may want to know who may read the answer (`shared.cors`)."""


class RequestHead(NamedTuple):
    """What matters of a POST: its path, mostly with its query, body bytes that follow, and whether it is the
    connection's last request. `target`: path and query as they came; `fields`: all headers by their names in lower
    case; `tags`: those of them that tag the call; `fallback`: whether another model may take its place, as it says;
    `priority`: likewise."""

    path: str
    content_length: int
    content_type: str | None
    close: bool
    trace: Trace | None
    request_id: str | None = None
    target: str = ""
    fields: Mapping[bytes, bytes] = MappingProxyType({})
    tags: tuple[tuple[bytes, bytes], ...] = ()
    fallback: bytes | None = None
    priority: bytes | None = None


def tags_of(fields: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The names, without what they all begin with, and values of those that tag a call."""
    return tuple((name.removeprefix(TAG), value) for name, value in fields.items() if name.startswith(TAG))


class _Request:
    """What httptools finds."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: dict[bytes, bytes] = {}
        self.complete = False
        self.plain = True

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in self.fields or lower in _NOT_PLAIN:
            self.plain = False
        self.fields[lower] = value.strip(b" \t")

    def on_headers_complete(self) -> None:
        self.complete = True


@lru_cache(maxsize=KNOWN_HEADS)
def parse_request_head(head: bytes) -> RequestHead | None:
    """A head up to and including its empty line; None if it is not that of a plain POST."""
    if not head.startswith(b"POST /") or b"\r\n " in head or b"\r\n\t" in head:  # a folded line, which llhttp lets pass
        return None
    request = _Request()
    parser = httptools.HttpRequestParser(request)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    fields = request.fields
    if not (request.complete and request.plain and request.target.isascii() and parser.get_http_version() == "1.1"):
        return None
    length, connection = fields.get(b"content-length", b""), fields.get(b"connection", b"keep-alive").lower()
    if _LENGTH.fullmatch(length) is None or connection not in (b"keep-alive", b"close"):
        return None
    if (host := fields.get(b"host")) is None or HOST.fullmatch(host) is None:
        return None
    content_type = fields.get(b"content-type")
    target = request.target.decode()
    return RequestHead(
        target,
        int(length),
        None if content_type is None else content_type.decode("utf-8", "surrogateescape"),
        connection == b"close",
        parse_trace(fields.get(b"traceparent"), fields.get(b"tracestate")),
        parse_request_id(fields.get(b"x-request-id")),
        target,
        fields,
        tags_of(fields),
        fields.get(FALLBACK),
        fields.get(PRIORITY),
    )


def has_broken_line(data: bytes) -> bool:
    """A carriage return or line feed without the other: such a head need never come to the end that is waited for."""
    ends = data.count(b"\r\n")
    return data.count(b"\n") != ends or data.count(b"\r") - data.endswith(b"\r") != ends
