"""Connections beyond the limit: told so, unless they ask how the gateway is, which may not depend on how busy it is."""

import asyncio
from collections.abc import Callable
from typing import cast

from shared.lingering import linger

RESERVE = 100
"""Connections beyond the limit that may be asked what they want, at one time."""
MAX_LINGERING = 1000
"""Refused connections that wait for their callers to read why; beyond them, the oldest is closed."""
WAIT_S = 1.0
"""So long may the first bytes of a request take."""
PROBES = tuple(
    b"%b %b%b" % (method, path, end)
    for method in (b"GET", b"HEAD")
    for path in (b"/healthz", b"/readyz")
    for end in (b" ", b"?")
)
BODY = b"The gateway has reached its connection limit.\n"
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n%b" % (len(BODY), BODY)
)


class Refusals:
    """All of one worker. `serve_probe` makes the protocol that answers a probe, or None for one too many; `on_refused`
    counts the others."""

    def __init__(
        self,
        serve_probe: Callable[[], asyncio.Protocol | None],
        on_refused: Callable[[], None],
        max_waiting: int = RESERVE,
        max_lingering: int = MAX_LINGERING,
    ) -> None:
        self.serve_probe = serve_probe
        self.on_refused = on_refused
        self._max_waiting, self._max_lingering = max_waiting, max_lingering
        self.lingering: dict[Refusal, None] = {}  # likewise the oldest first
        self.waiting: dict[Refusal, None] = {}  # the oldest first

    def wait(self, refusal: "Refusal") -> None:
        """For its first bytes; whoever has waited longest makes room."""
        self.waiting[refusal] = None
        if len(self.waiting) > self._max_waiting:
            next(iter(self.waiting)).refuse()

    def linger(self, refusal: "Refusal") -> None:
        """Until its caller has read why; whoever had most time for it makes room."""
        self.lingering[refusal] = None
        if len(self.lingering) > self._max_lingering:
            next(iter(self.lingering)).abort()

    def close(self) -> None:
        """At once."""
        for refusal in [*self.waiting, *self.lingering]:
            refusal.abort()


class Refusal(asyncio.Protocol):
    """One connection, until it is refused or handed over."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._timer = asyncio.get_running_loop().call_later(WAIT_S, self.refuse)
        self._refusals.wait(self)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        if received.startswith(PROBES) and (other := self._refusals.serve_probe()) is not None:
            self._done()
            self._transport.set_protocol(other)
            other.connection_made(self._transport)
            other.data_received(received)
        elif not any(probe != received and probe.startswith(received) for probe in PROBES):
            self.refuse()

    def connection_lost(self, _error: Exception | None) -> None:
        self._done()
        self._refusals.lingering.pop(self, None)

    def refuse(self) -> None:
        """Say so, and see to it that it is read."""
        self._done()
        self._refusals.on_refused()
        self._transport.write(REFUSAL)
        if linger(self._transport, self.connection_lost):
            self._refusals.linger(self)

    def abort(self) -> None:
        self._refusals.lingering.pop(self, None)
        self._transport.abort()

    def _done(self) -> None:
        self._timer.cancel()
        self._refusals.waiting.pop(self, None)
