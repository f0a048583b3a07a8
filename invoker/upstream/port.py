"""Calls to model servers.

UpstreamError     no usable answer came; carries the record's error type
  ConnectError    no connection was made: it is safe to try again
  BusyError       the upstream answered 429 or 503: its caller is told the same, and when to come again
"""

import re
from collections.abc import Mapping
from typing import Protocol

from invoker.http.pieces import Body, begin_of
from shared.record import ErrorType

ERROR_BODY_CHARS = 512
LOCATION_CHARS = 256

_DATE = rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
_RETRY_AFTER = re.compile(rb"[0-9]{1,9}|" + _DATE)
_SECRETS = re.compile(rb"(//)[^/?#]*(?=@)|([?#]).*", re.DOTALL)
"""What may be secret in a URL: its user and password, its query and its fragment."""

Answer = tuple[int, Body, Mapping[bytes, bytes]]
"""HTTP status, body, and headers by their names in lower case."""


class UpstreamError(Exception):
    """The upstream gave no answer that can be passed on; the message is for `error_log`."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def status_error(status: int, body: Body, headers: Mapping[bytes, bytes], body_problem: str = "") -> UpstreamError:
    """What an answer comes to whose status is not 2xx, even if its body can't be had."""
    message = f"upstream answered {status}"
    if 300 <= status < 400 and (location := headers.get(b"location")):
        shown = _shown(_SECRETS.sub(rb"\1\2***", location), LOCATION_CHARS)
        message += f" with Location {shown!r}"
    if excerpt := _shown(begin_of(body, 4 * ERROR_BODY_CHARS + 1), ERROR_BODY_CHARS):
        message += f": {excerpt}"
    if body_problem:
        message += f"; its body is not usable: {body_problem}"
    if status not in (429, 503):
        return UpstreamError(ErrorType.UPSTREAM_STATUS, message)
    retry_after = headers.get(b"retry-after", b"")
    return BusyError(message, status, retry_after if _RETRY_AFTER.fullmatch(retry_after) else b"")


def _shown(text: bytes, max_chars: int) -> str:
    excerpt = text[: 4 * max_chars + 1].decode("utf-8", "replace")
    return excerpt if len(excerpt) <= max_chars else excerpt[: max_chars - 1] + "…"


class Upstream(Protocol):
    """Posts a body and reads the whole answer. Cancelling a call closes its connection."""

    async def post(self, url: str, body: bytes, headers: bytes = b"") -> Answer:
        """`headers` are whole lines to send along. `UpstreamError` of type `connect` when the request can't have
        been received, or no answer came; `invalid_response` when it broke off or is too large; `gateway_error`
        when this machine has nothing left to connect with."""
        ...


class ConnectError(UpstreamError):
    """No connection was made, so the upstream can't have seen the request: it is safe to try again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorType.CONNECT, message)


class BusyError(UpstreamError):
    """The upstream has no room now. `status` is 429 or 503, `retry_after` its header's value or empty."""

    def __init__(self, message: str, status: int, retry_after: bytes) -> None:
        super().__init__(ErrorType.UPSTREAM_STATUS, message)
        self.status = status
        self.retry_after = retry_after
