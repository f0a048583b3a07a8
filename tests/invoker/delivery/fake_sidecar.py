"""The sidecar's end of a connection, on a real socket, that does what a test tells it to do and nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

from shared.framing import FrameReader
from shared.wire import (
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Bye,
    Flush,
    Flushed,
    Hello,
    Mixed,
    Report,
    ToProducer,
    ToSidecar,
    Welcome,
    decode_to_sidecar,
    encode,
)

WAIT_S = 20.0
Message = TypeVar("Message", Hello, Batch, Report, Bye, Flush)


class Peer:
    """One connection of a producer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._frames = FrameReader()
        self._received: list[ToSidecar | Mixed] = []

    def send(self, *messages: ToProducer) -> None:
        self.writer.write(b"".join(encode(message) for message in messages))

    async def receive(self) -> ToSidecar | Mixed | None:
        """The next message; None at the end of the connection."""
        async with asyncio.timeout(WAIT_S):
            while not self._received:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    return None
                self._received += [decode_to_sidecar(body) for body in self._frames.feed(data)]
        return self._received.pop(0)

    async def next(self, kind: type[Message]) -> Message:
        """The next message of this kind; others before it are passed over."""
        while (message := await self.receive()) is not None:
            if isinstance(message, kind):
                return message
        raise AssertionError(f"the connection ended without a {kind.__name__}")

    async def welcome(self, committed: int = 0) -> Hello:
        hello = await self.next(Hello)
        self.send(Welcome(PROTOCOL_VERSION, committed))
        return hello

    async def records(self, count: int, *, acknowledge: bool = True) -> dict[int, str]:
        """Sequence → model of so many records."""
        found: dict[int, str] = {}
        while len(found) < count:
            batch = await self.next(Batch)
            found.update((sequence, each.model_id) for sequence, each in enumerate(batch.records, batch.first_sequence))
            if acknowledge:
                self.send(Ack(max(found)))
        return found

    async def part(self) -> None:
        """A producer's end, as far as the sidecar has its part in it."""
        await self.next(Flush)
        self.send(Flushed())
        await self.next(Bye)
        self.close()

    def close(self) -> None:
        self.writer.close()


class FakeSidecar:
    """Hands its connections to the test, in the order in which they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._accepted: list[Peer] = []

    async def accept(self) -> Peer:
        return await asyncio.wait_for(self._peers.get(), WAIT_S)

    async def welcome(self, committed: int = 0) -> Peer:
        """The next connection, greeted."""
        peer = await self.accept()
        await peer.welcome(committed)
        return peer

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.append(Peer(reader, writer))
        self._peers.put_nowait(self._accepted[-1])

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeSidecar"]:
        server = await asyncio.start_unix_server(self._connected, self.path)
        try:
            yield self
        finally:
            server.close()
            for peer in self._accepted:
                peer.writer.transport.abort()
