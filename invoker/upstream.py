"""Calls to model servers.

UpstreamError   no usable answer came; carries the record's error type
"""

from typing import Protocol

from shared.record import ErrorType


class UpstreamError(Exception):
    """The upstream gave no answer that can be passed on; the message is for `error_log`."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Upstream(Protocol):
    """Posts a body and reads the whole answer. Cancelling a call closes its connection."""

    async def post(self, url: str, body: bytes, headers: bytes = b"") -> tuple[int, bytes]:
        """HTTP status and body of the answer; `headers` are whole lines to send along. `UpstreamError` of type
        `connect` when the request can't have been received, or no answer came; `invalid_response` when it
        broke off or is too large."""
        ...


class ConnectError(UpstreamError):
    """No connection was made, so the upstream can't have seen the request: it is safe to try again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorType.CONNECT, message)
