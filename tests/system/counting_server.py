"""A model server that counts how many calls it has at one time, as it sees them: from a request's head until its answer
is written, or its connection ends."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

ANSWER = b'{"worklet_output":1}'


class CountingServer:
    """`now` and `most`: calls at once; `most` may be set back. `answered`: of all, by `x-priority`. Each takes so long,
    or until `gate` is set where it is asked for."""

    def __init__(self, latency_s: float) -> None:
        self.now = 0
        self.most = 0
        self.count = 0
        self.latency_s = latency_s
        self.heads: list[bytes] = []
        self.gate: asyncio.Event | None = None
        self.url = ""
        self.transports: set[asyncio.Transport] = set()

    async def serve(self, ready: threading.Event, stopped: asyncio.Event) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = stopped
        server = await self.loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1000)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/invoke"
        ready.set()
        await stopped.wait()
        server.close()
        for transport in self.transports:
            transport.abort()
        while self.transports:
            await asyncio.sleep(0.001)

    def enter(self) -> None:
        self.now += 1
        self.count += 1
        self.most = max(self.most, self.now)

    def hold(self) -> None:
        """From now on, calls are answered by `release`."""
        self.loop.call_soon_threadsafe(setattr, self, "gate", asyncio.Event())

    def release(self) -> None:
        def release() -> None:
            if self.gate is not None:
                self.gate.set()
                self.gate = None

        self.loop.call_soon_threadsafe(release)


class _Connection(asyncio.Protocol):
    def __init__(self, server: CountingServer) -> None:
        self._server = server
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.transports.add(transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._answering is not None:
            return
        fields = Counter[bytes]()
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                fields[b"length"] = int(line.partition(b":")[2])
        if len(body) < fields[b"length"]:
            return
        self._received = b""
        self._server.heads.append(head)
        self._server.enter()
        self._answering = asyncio.ensure_future(self._answer())

    async def _answer(self) -> None:
        if (gate := self._server.gate) is not None:
            await gate.wait()
        else:
            await asyncio.sleep(self._server.latency_s)
        self._leave()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.transports.discard(self._transport)
        self._gone()

    def _gone(self) -> None:
        if self._answering is not None:
            self._answering.cancel()
            self._leave()

    def _leave(self) -> None:
        self._answering = None
        self._server.now -= 1


@contextlib.contextmanager
def counting(latency_s: float) -> Iterator[CountingServer]:
    """Served by a thread of its own."""
    server, ready = CountingServer(latency_s), threading.Event()

    async def run() -> None:
        await server.serve(ready, asyncio.Event())

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(server.stopped.set)
        thread.join(20)
