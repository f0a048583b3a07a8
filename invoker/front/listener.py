"""The worker's listener: makes a connection for each caller, bounds their number, and ends those that hang."""

import asyncio
import contextlib
import socket
from email.utils import formatdate
from typing import cast

from aiohttp import web

from invoker.front.answering import Answering
from invoker.front.connection import CallerConnection
from invoker.front.refusal import MAX_LINGERING, RESERVE, Refusal, Refusals
from invoker.front.responses import refusing
from shared import logs
from shared.accepting import Acceptor, Acceptors
from shared.head_rules import MAX_HEADER_BYTES
from shared.request_handler import RequestHandler

IDLE_S = 75
"""An idle connection is closed after so long: longer than the 60 s after which most load balancers do it."""
STALLED_S = 60
"""So long may a head take, the next piece of a body, or the next piece of an answer to go out."""
SWEEP_S = 5
RESERVED_FILES = 20
"""No caller gets these: journal, sidecar and upstreams go on where something else has taken more than was planned."""

log = logs.get("connections")


class Connections:
    """Counts the open connections of one worker, of which `limit` are served. Implements `Listener`. `full`: whether
    the newest one was beyond the limit."""

    def __init__(
        self,
        answering: Answering,
        limit: int,
        probes: int = RESERVE,
        lingering: int = MAX_LINGERING,
        max_header_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        """Beyond the limit, so many may be asked what they want at one time, and so many wait to read that they are
        refused."""
        self.answering = answering
        self.stalled_s = STALLED_S
        self.now = 0
        self.date = b""
        self.limit = limit
        self.accepting = Acceptors()
        self._max_header_bytes = max_header_bytes
        self._open: set[CallerConnection] = set()
        self._none_open = asyncio.Event()
        self._server: web.Server
        self._clock: asyncio.TimerHandle | None = None
        self._probes = probes
        self._refusals = Refusals(self._serve_probe, self._count_refused, probes, lingering)
        self._acceptors: list[Acceptor] = []
        self.full = False

    @property
    def count(self) -> int:
        return 0 if self._clock is None else len(self._open) + len(self._server.connections)

    def serve(self, server: web.Server) -> None:
        """From now on, make connections that are answered here, or by `server` what is no plain invocation."""
        self._server = server
        self._tick()

    def listen(self, listener: socket.socket) -> Acceptor:
        """On one more socket."""
        acceptor = self.accepting.listen(listener, self.protocol, lambda: RESERVED_FILES, self._has_room)
        self._acceptors.append(acceptor)
        return acceptor

    def protocol(self) -> asyncio.Protocol:
        """For each new connection: one that serves, or, beyond the limit, one that refuses."""
        full = self.count >= self.limit
        if full != self.full:
            log.warning("connections.limit_reached" if full else "connections.below_limit_again", limit=self.limit)
            self.full = full
        return Refusal(self._refusals) if full else CallerConnection(self)

    def _has_room(self, pending: int) -> bool:
        return self.count < self.limit or pending < self._probes

    def _serve_probe(self) -> asyncio.Protocol | None:
        return self.other_server() if self.count < self.limit + self._probes else None

    def _count_refused(self) -> None:
        self.answering.rejected["connection_limit"] += 1

    def opened(self, connection: CallerConnection) -> None:
        self._open.add(connection)

    def closed(self, connection: CallerConnection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._none_open.set()

    def other_server(self) -> asyncio.Protocol:
        """aiohttp's protocol, for a connection that is not for our own. The server's own keep idle ones for an hour."""
        refuse = refusing(self.answering)
        return RequestHandler(self._server, refuse, self._max_header_bytes, keepalive_timeout=IDLE_S)

    def close_idle(self) -> None:
        """Close connections on which nothing has begun. Nothing listens any more."""
        for connection in [*self._open]:
            if connection.is_idle:
                connection.close()
        for handed_over in self._server.connections:
            cast(RequestHandler, handed_over).close_idle()

    async def close(self, grace_s: float) -> None:
        """While draining, close all connections that are not aiohttp's: their answers may go out until the grace
        time is over. Nothing listens any more."""
        for acceptor in self._acceptors:
            await acceptor.wait_closed()  # what was accepted is made a connection now
        if self._clock is not None:
            self._clock.cancel()
        for connection in [*self._open]:
            connection.close()
        if self._open:
            self._none_open.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_open.wait(), grace_s)
        for connection in [*self._open]:
            connection.abort()
        self._refusals.close()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = int(loop.time())
        self.date = f"Date: {formatdate(usegmt=True)}\r\n".encode()
        self._clock = loop.call_later(1.0, self._tick)
        if self.now % SWEEP_S == 0:
            self.sweep()

    def sweep(self) -> None:
        """End those that were idle, or whose caller did nothing, for too long."""
        for connection in [*self._open]:
            waited_s = self.now - connection.since
            if connection.is_idle and waited_s > IDLE_S:
                connection.close()
            elif waited_s > STALLED_S:
                connection.end_stalled()
