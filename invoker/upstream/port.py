"""Calls to model servers.

UpstreamError     no usable answer came; carries the record's error type
  ConnectError    no connection was made, and so the request can't have been received
  BusyError       the upstream answered 429 or 503: its caller is told the same, and when to come again
"""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from invoker.http.pieces import Body, begin_of
from shared.record import ErrorType

BUSY = (429, 503)
"""Statuses of an upstream that has no room."""
ERROR_BODY_CHARS = 512
LOCATION_CHARS = 256

_DATE = rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
_RETRY_AFTER = re.compile(rb"[0-9]{1,9}|" + _DATE)
_SECRETS = re.compile(rb"(//)[^/?#]*(?=@)|([?#]).*", re.DOTALL)
"""What may be secret in a URL: its user and password, its query and its fragment."""


class UpstreamError(Exception):
    """The upstream gave no answer that can be passed on; the message is for `error_log`. `received`: whether the
    request can have been, and so may have been worked on."""

    received = True

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
    if status not in BUSY:
        return UpstreamError(ErrorType.UPSTREAM_STATUS, message)
    retry_after = headers.get(b"retry-after", b"")
    return BusyError(message, status, retry_after if _RETRY_AFTER.fullmatch(retry_after) else b"")


def _shown(text: bytes, max_chars: int) -> str:
    excerpt = text[: 4 * max_chars + 1].decode("utf-8", "replace")
    return excerpt if len(excerpt) <= max_chars else excerpt[: max_chars - 1] + "…"


Give = Callable[[bytes], bool]
"""Takes a piece, without waiting. Whether it can take more; if not, who waits for chunks sees to that."""


class Exchange(Protocol):
    """A request's answer, as far as it has come; its head has. Whoever opened it takes the body, once, or aborts it:
    what it goes over is free for others then, or closed. Being cancelled aborts it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """By their names in lower case."""
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body's pieces as they come, without their coding, which is gzip or deflate, if any. Who takes them slowly
        has the upstream wait. `UpstreamError`, as of `whole`."""
        ...

    def give(self, give: Give) -> None:
        """What comes while someone waits for the next of the `chunks` is given to this, in their place and at once, if
        it is in no coding: nobody has to be woken for it. An empty chunk tells of what isn't told otherwise: that no
        more may be given for now, or that no more comes."""
        ...

    async def whole(self) -> Body:
        """The body when all of it is here, without its coding. `UpstreamError` of type `invalid_response` if it broke
        off or is too large, or `upstream_status` if the status tells enough."""
        ...

    def leave(self) -> None:
        """All that is wanted of it has come, and its end is near: with that, what it goes over is for others.
        Idempotent."""
        ...

    def abort(self) -> None:
        """No more of it is wanted. Idempotent."""
        ...


class Upstream(Protocol):
    """Posts a body, or gets without one. Cancelling ends what was begun."""

    async def open(
        self, endpoint: str, body: Body, headers: bytes = b"", method: bytes = b"POST", address: str = ""
    ) -> Exchange:
        """As soon as the answer's head is here. `headers` are whole lines to send along; `address`: which one of the
        URL's host is called, if that has several. `UpstreamError` of type
        `connect` when the request can't have been received, or no answer came; `invalid_response` when what came is
        none; `gateway_error` when this machine has nothing left to connect with."""
        ...


class ConnectError(UpstreamError):
    """No connection was made, and not for want of something here."""

    received = False

    def __init__(self, message: str) -> None:
        super().__init__(ErrorType.CONNECT, message)


class BusyError(UpstreamError):
    """The upstream has no room now. `status` is 429 or 503, `retry_after` its header's value or empty."""

    def __init__(self, message: str, status: int, retry_after: bytes) -> None:
        super().__init__(ErrorType.UPSTREAM_STATUS, message)
        self.status = status
        self.retry_after = retry_after
