"""Calls to model servers.

UpstreamError   no usable answer came; carries the record's error type
"""

import asyncio
from typing import Protocol

import aiohttp

from shared.record import ErrorType

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 30.0


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
        try:
            async with self._session.post(url, data=body, allow_redirects=False) as response:
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
        body = await response.content.readany()
        if response.content.at_eof():
            return body if len(body) <= self._max_answer_bytes else self._too_large()
        parts = bytearray(body)
        async for part in response.content.iter_any():
            parts += part
            if len(parts) > self._max_answer_bytes:
                self._too_large()
        return bytes(parts)

    def _too_large(self) -> bytes:
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
    # aiohttp's own text names host and port of the upstream, which is none of the caller's business.
    if isinstance(error, aiohttp.ClientConnectorError) and error.strerror:
        return error.strerror
    return "timed out" if isinstance(error, aiohttp.ServerTimeoutError) else type(error).__name__
