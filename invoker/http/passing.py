"""What goes through a gateway of a message's head, and the URL that a request goes on to."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

_PROXIES = frozenset((b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"))
_HOP_BY_HOP = _PROXIES | {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
FALLBACK, SERVED_BY = b"x-fallback", b"x-served-by"
"""What callers tell the gateway of other models, and it them."""
PRIORITY = b"x-priority"
_REWRITTEN = frozenset((b"content-encoding", b"content-length", b"x-request-id"))
"""Bodies go on unpacked, with a length of their own, and an id is that of the record."""
_NOT_TO_UPSTREAM = _HOP_BY_HOP | _REWRITTEN | {b"host", b"cookie", b"expect", b"accept-encoding"}
_NOT_TO_UPSTREAM |= {b"traceparent", b"tracestate"}  # they go on as they were understood
_NOT_TO_UPSTREAM |= {FALLBACK, PRIORITY}
_NOT_TO_CALLER = _HOP_BY_HOP | _REWRITTEN | {b"content-type", b"set-cookie", b"date", b"alt-svc", SERVED_BY}
TAG = b"x-tag-"
_OURS = (TAG, b"x-metric-")
_FOR_BROWSERS = (b"access-control-",)
"""Whose pages may read an answer is said by the gateway's own settings."""


def is_own_field(name: bytes) -> bool:
    """Whether the gateway, or the body that it sends, says what an upstream is told under this name in lower case."""
    own = name in _NOT_TO_UPSTREAM or name in (b"content-type", b"accept") or name.startswith(_OURS)
    return own and name not in (b"cookie", FALLBACK)  # which another gateway may be told


def fields_of(headers: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    """By their names in lower case; several of a name are one list (RFC 9110, 5.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        lower, said = name.lower().encode(), value.encode("utf-8", "surrogateescape")
        fields[lower] = fields[lower] + b", " + said if lower in fields else said
    return fields


def request_lines(fields: Mapping[bytes, bytes]) -> bytes:
    """Whole header lines for the upstream, of a caller's fields by their names in lower case. Its answer is asked for
    without a coding, as it is read on its way."""
    return _lines(fields, _NOT_TO_UPSTREAM, _OURS) + b"accept-encoding: identity\r\n"


def answer_lines(fields: Mapping[bytes, bytes]) -> bytes:
    """Whole header lines for the caller, beside Content-Type, of an upstream's fields."""
    return _lines(fields, _NOT_TO_CALLER, _FOR_BROWSERS)


def _lines(fields: Mapping[bytes, bytes], left_out: frozenset[bytes], beginnings: tuple[bytes, ...]) -> bytes:
    connection = fields.get(b"connection")
    if connection is not None:  # it may name more fields that are meant for the next hop alone
        left_out = left_out.union(name.strip() for name in connection.lower().split(b","))
    return b"".join(
        b"%b: %b\r\n" % field
        for field in fields.items()
        if field[0] not in left_out and not field[0].startswith(beginnings)
    )


@lru_cache(maxsize=512)
def joined_url(base: str, target: str) -> str:
    """A base with a request's path, and its query, if it has one, after the base's own; what both of them say, the
    request does. An empty target is the base itself."""
    if not target:
        return base
    base_path, _, base_query = base.partition("?")
    path, _, query = target.partition("?")
    said = {part.partition("=")[0] for part in query.split("&")}
    parts = [part for part in base_query.split("&") if part and part.partition("=")[0] not in said]
    whole_query = "&".join([*parts, query] if query else parts)
    return base_path.rstrip("/") + path + (f"?{whole_query}" if whole_query else "")
