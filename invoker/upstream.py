"""Calls to model servers.

UpstreamError   no usable answer came; carries the record's error type
"""

import asyncio
import io
import os
from typing import Protocol

import aiohttp

from shared.record import ErrorType

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 4.0
"""Shorter than the 5 s after which uvicorn and Node.js close an idle connection: a call must not meet that."""
LARGE_BODY_BYTES = 2**20
"""A larger body is written in pieces, so that other calls get their turn."""


class UpstreamError(Exception):
    """The upstream gave no answer that can be passed on; the message is for `error_log`."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Upstream(Protocol):
    """Posts a body and reads the whole answer. Cancelling a call closes its connection."""

    async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status and body of the answer. `UpstreamError` of type `connect` when the request can't
        have been received, or no answer came; `invalid_response` when it broke off or is too large."""
        ...


class AiohttpUpstream:
    """Implements `Upstream` with aiohttp's pooled keep-alive client. Follows no redirects."""

    def __init__(self, max_answer_bytes: int) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )

    async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        data = body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body)
        try:
            async with self._session.post(url, data=data, allow_redirects=False) as response:
                return response.status, await self._read(response)
        except aiohttp.ClientPayloadError as error:
            raise UpstreamError(ErrorType.INVALID_RESPONSE, f"upstream's answer broke off: {error}") from None
        except aiohttp.ServerDisconnectedError:
            raise UpstreamError(ErrorType.CONNECT, "upstream closed the connection without an answer") from None
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise ConnectError(f"can't connect to upstream: {_connect_reason(error)}") from None
        except aiohttp.ClientResponseError as error:
            raise UpstreamError(ErrorType.INVALID_RESPONSE, f"upstream's answer is not HTTP: {error.message}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError(ErrorType.CONNECT, f"connection to upstream broke: {error!r}") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body: bytes | bytearray = await response.content.readany()
        while len(body) <= self._max_answer_bytes:
            if response.content.at_eof():
                return bytes(body)
            if isinstance(body, bytes):  # most answers come in one piece and are not copied
                body = bytearray(body)
            body += await response.content.readany()
        message = f"upstream's answer is larger than {self._max_answer_bytes} bytes"
        raise UpstreamError(ErrorType.INVALID_RESPONSE, message)

    async def close(self) -> None:
        await self._session.close()
        await asyncio.sleep(0)  # lets the transports see that they are closed


class ConnectError(UpstreamError):
    """No connection was made, so the upstream can't have seen the request: it is safe to try again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorType.CONNECT, message)


def _connect_reason(error: Exception) -> str:
    # The texts of aiohttp and asyncio name host and port of the upstream, which is none of the caller's business.
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name can't be resolved"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno:
        return os.strerror(error.errno)
    return "timed out" if isinstance(error, aiohttp.ServerTimeoutError) else type(error).__name__
