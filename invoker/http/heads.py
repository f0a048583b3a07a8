"""Heads of plain HTTP/1.1 messages, parsed here because it takes a fraction of the time; all others have real parsers.

Plain means that nothing leaves a doubt where the message ends (RFC 9112): one Content-Length in digits, no
Transfer-Encoding, no line that isn't `name: value`, no field twice, a connection that is kept or closed.
"""

import re
from typing import NamedTuple

from invoker.call.trace import Trace, parse_trace
from shared.head_rules import HOST

END = b"\r\n\r\n"
MAX_HEAD_BYTES = 8 * 1024
"""A longer head is for the real parsers, and their limits."""

_FIELDS = rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
_REQUEST = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n" + _FIELDS)
_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n" + _FIELDS)
_LENGTH = re.compile(rb"[0-9]{1,15}")
_NOT_PLAIN = frozenset(
    (b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"proxy-connection", b"origin")
)
"""Origin is a browser's, which may want to know who may read the answer (`shared.cors`)."""
_NO_BODY = frozenset((204, 304))


class RequestHead(NamedTuple):
    """What matters of a POST: its path with its query, body bytes that follow, and whether it is the connection's last
    request."""

    path: str
    content_length: int
    content_type: str | None
    close: bool
    trace: Trace | None


class AnswerHead(NamedTuple):
    """What matters of an answer: body bytes that follow, whether the connection ends with them, and its headers by
    their names in lower case."""

    content_length: int
    status: int
    close: bool
    fields: dict[bytes, bytes]


def parse_request_head(head: bytes) -> RequestHead | None:
    """A head up to and including its empty line; None if it is not that of a plain POST."""
    match = _REQUEST.fullmatch(head)
    if match is None or (fields := _plain_fields(head)) is None:
        return None
    if (host := fields.get(b"host")) is None or HOST.fullmatch(host) is None:
        return None
    content_type = fields.get(b"content-type")
    return RequestHead(
        match[1].decode(),
        int(fields[b"content-length"]),
        None if content_type is None else content_type.decode("utf-8", "surrogateescape"),
        fields.get(b"connection", b"").lower() == b"close",
        parse_trace(fields.get(b"traceparent"), fields.get(b"tracestate")),
    )


def parse_answer_head(head: bytes) -> AnswerHead | None:
    """A head up to and including its empty line; None if it is not plain, or if no body follows whatever it says."""
    match = _ANSWER.fullmatch(head)
    if match is None or (fields := _plain_fields(head)) is None or (status := int(match[1])) in _NO_BODY:
        return None
    close = fields.get(b"connection", b"").lower() == b"close"
    return AnswerHead(int(fields[b"content-length"]), status, close, fields)


def _plain_fields(head: bytes) -> dict[bytes, bytes] | None:
    """Lower-case name → value; None if they are not plain."""
    fields: dict[bytes, bytes] = {}
    for line in head[: -len(END)].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _NOT_PLAIN or name in fields:
            return None
        fields[name] = value.strip(b" \t")
    if _LENGTH.fullmatch(fields.get(b"content-length", b"")) is None:
        return None
    connection = fields.get(b"connection", b"keep-alive").lower()
    return fields if connection in (b"keep-alive", b"close") else None
