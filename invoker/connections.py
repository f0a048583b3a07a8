"""The bound on callers' connections: one more than allowed is told so and closed."""

import asyncio
from typing import cast

from aiohttp import web

from shared import logs

BODY = b"The gateway has reached its connection limit.\n"
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n%b" % (len(BODY), BODY)
)

log = logs.get("connections")


class Connections:
    """Counts the open connections of one worker; what is refused is counted in `rejected`."""

    def __init__(self, limit: int, rejected: dict[str, int]) -> None:
        self._limit = limit
        self._rejected = rejected
        self._server: web.Server | None = None
        self._full = False

    @property
    def count(self) -> int:
        return 0 if self._server is None else len(self._server.connections)

    def serve(self, server: web.Server) -> None:
        """From now on, make connections for this server."""
        self._server = server

    def protocol(self) -> asyncio.Protocol:
        """For each new connection: aiohttp's protocol, or, beyond the limit, one that refuses."""
        full = self.count >= self._limit
        if full != self._full:
            log.warning("connections.limit_reached" if full else "connections.below_limit_again", limit=self._limit)
            self._full = full
        if full or self._server is None:
            self._rejected["connection_limit"] = self._rejected.get("connection_limit", 0) + 1
            return _Refusal()
        return self._server()


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast(asyncio.WriteTransport, transport)
        writer.write(REFUSAL)
        writer.close()
