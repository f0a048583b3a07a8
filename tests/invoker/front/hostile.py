"""A model server that writes whatever bytes a test wants, on a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from invoker.http.pieces import Body
from invoker.upstream.port import Upstream
from tests.invoker.fakes import post

Handler = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One connection, as its handler sees it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """The next request's head, for requests without a body."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """The next request's body; an IncompleteReadError once the peer has closed."""
        head = await self.head()
        (length,) = (
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        return await self._reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def closed_by_peer(self) -> None:
        while await self._reader.read(65536):
            pass

    def abort(self) -> None:
        """Close with a reset instead of an orderly end."""
        self._writer.transport.abort()


class HostileServer:
    """Runs one handler per connection; `open` counts those that neither side has closed."""

    def __init__(self, handler: Handler) -> None:
        self.accepted = 0
        self.open = 0
        self.all_closed = asyncio.Event()
        self._handler = handler
        self._tasks: set[asyncio.Task[None] | None] = set()
        self.url = ""

    async def start(self, path: Path | None = None) -> asyncio.Server:
        """On a port, or on a Unix socket of this path."""
        if path is not None:
            self.url = f"http+unix://{str(path).replace('/', '%2F')}/invoke"
            return await asyncio.start_unix_server(self._serve, path)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/invoke"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.accepted += 1
        self.open += 1
        self.all_closed.clear()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handler(Connection(self.accepted, reader, writer))
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.all_closed.set()
            self._tasks.discard(asyncio.current_task())

    async def stop(self) -> None:
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(handler: Handler, path: Path | None = None) -> AsyncIterator[HostileServer]:
    hostile = HostileServer(handler)
    server = await hostile.start(path)
    try:
        yield hostile
    finally:
        server.close()
        await hostile.stop()
        await server.wait_closed()


def whole(body: Body) -> bytes:
    """In one piece."""
    return body if isinstance(body, bytes) else b"".join(body)


async def asked(upstream: Upstream, url: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of an upstream's answer."""
    status, answer, _ = await post(upstream, url, body)
    return status, whole(answer)


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def writing(*parts: bytes) -> Handler:
    """Read one request, write these parts one after the other, and close."""

    async def handle(connection: Connection) -> None:
        await connection.request()
        for part in parts:
            await connection.send(part)
            await asyncio.sleep(0)

    return handle


def keeping_alive(answer: bytes) -> Handler:
    """Answer every request on a connection until the peer closes it."""

    async def handle(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer)

    return handle
