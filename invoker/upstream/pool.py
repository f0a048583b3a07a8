"""Calls to upstreams over HTTP/1.1, on connections that are kept."""

import asyncio
import re
import ssl
from base64 import b64encode
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from invoker.http.answer_parser import MalformedError
from invoker.http.pieces import Body
from invoker.upstream.connect_failure import connect_failure
from invoker.upstream.connection import Connection
from invoker.upstream.exchange import BrokenError, WireExchange
from invoker.upstream.idle import MAX_IDLE, IdleConnections
from invoker.upstream.port import ConnectError, UpstreamError
from shared.clock import Clock
from shared.record import ErrorType
from shared.settings import UNIX_SCHEME

CONNECT_TIMEOUT_S = 5.0
CROSSING_US = 1_000_000
"""A server may end an idle connection while a request is on its way there. That shows within a round trip; what ends
later without an answer was worked on, and must not be done twice."""

KNOWN_TARGETS = 10_000
POST = b"POST"
_AUTHORIZATION = re.compile(rb"(?im)^authorization:.*\n")

URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=-._~"


class Origin(NamedTuple):
    """Where a URL's connections go: a host and a port, with TLS or without, or a Unix socket. `address`: of the
    host's, the one that is meant; or else any."""

    host: str
    port: int
    tls: bool
    unix_path: str
    address: str = ""


class Target(NamedTuple):
    """A URL, prepared: its origin, and the request's head up to the value of Content-Length. `authorized`: that says
    who calls."""

    origin: Origin
    head: bytes
    authorized: bool = False


class PooledUpstream:
    """Implements `Upstream` on connections of its own. Accepts only whole and clean answers."""

    def __init__(self, clock: Clock, max_answer_bytes: int, max_idle: int = MAX_IDLE) -> None:
        self._clock = clock
        self._max_answer_bytes = max_answer_bytes
        self._targets: dict[str | tuple[str, str], Target] = {}
        self._idle = IdleConnections(clock, limit=max_idle)
        self._tls: asyncio.Future[ssl.SSLContext] | None = None

    async def open(
        self, endpoint: str, body: Body, headers: bytes = b"", method: bytes = POST, address: str = ""
    ) -> WireExchange:
        key = (endpoint, address) if address else endpoint
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= KNOWN_TARGETS:
                self._targets.clear()
            target = self._targets[key] = prepare(endpoint, address)
        if target.authorized:
            headers = _AUTHORIZATION.sub(b"", headers)
        head = b"%b%d\r\n%b\r\n" % (target.head, len(body), headers)
        if method != POST:
            head = method + head.removeprefix(POST)
        reused = self._idle.take(target.origin)
        while True:
            connection = reused or await self._connect(target.origin)
            exchange = connection.exchange(head, body)
            try:
                await exchange.opened
                return exchange
            except BrokenError as error:
                if reused is None or error.begun or not self._is_fresh(connection):
                    message = f"upstream's answer is not usable: {error}" if error.begun else str(error)
                    raise UpstreamError(ErrorType.CONNECT, message) from None
                reused = None
            except MalformedError as error:
                message = f"upstream's answer is not usable: {error}"
                raise UpstreamError(ErrorType.INVALID_RESPONSE, message) from None
            except asyncio.CancelledError:
                exchange.abort()
                raise

    async def close(self) -> None:
        """Close what is idle; calls in flight have ended before."""
        self._idle.close()

    def _is_fresh(self, connection: Connection) -> bool:
        """Whether what ends now was taken so lately that its end may have been on the way before our request was."""
        return self._clock.monotonic_us() - connection.since_us < CROSSING_US

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()

        def protocol() -> Connection:
            return Connection(self._max_answer_bytes, partial(self._idle.keep, origin), self._idle.leaving)

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if origin.unix_path:
                    return (await loop.create_unix_connection(protocol, origin.unix_path))[1]
                tls = await self._tls_context() if origin.tls else None
                name = origin.host if origin.tls else None
                place = origin.address or origin.host
                return (await loop.create_connection(protocol, place, origin.port, ssl=tls, server_hostname=name))[1]
        except TimeoutError:
            raise ConnectError(f"can't connect to upstream: timed out after {CONNECT_TIMEOUT_S:g} s") from None
        except (OSError, UnicodeError) as error:
            raise connect_failure(error) from None

    async def _tls_context(self) -> ssl.SSLContext:
        """The same for all. To read all authorities takes 30 ms: for that, others don't wait."""
        if self._tls is None:
            self._tls = asyncio.get_running_loop().run_in_executor(None, ssl.create_default_context)
        making = self._tls
        try:
            return await asyncio.shield(making)
        except Exception:
            if self._tls is making:
                self._tls = None  # the next call tries it again
            raise


def prepare(url: str, address: str = "") -> Target:
    """What every request to this URL has in common; at this address of its host, if one is meant."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == UNIX_SCHEME:
        origin, host = Origin("", 0, False, unquote(parts.netloc)), "localhost"
    else:
        tls = parts.scheme == "https"
        name = (parts.hostname or "").encode("idna").decode()
        origin = Origin(name, parts.port or (443 if tls else 80), tls, "", address)
        host = (f"[{name}]" if ":" in name else name) + (f":{parts.port}" if parts.port else "")
    head = f"POST {quote(path, safe=URL_CHARACTERS)} HTTP/1.1\r\nHost: {host}\r\n"
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        head += f"Authorization: Basic {b64encode(credentials).decode()}\r\n"
    return Target(origin, f"{head}Content-Length: ".encode("ascii"), parts.username is not None)
