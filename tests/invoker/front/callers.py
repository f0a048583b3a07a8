"""A caller on a socket pair: what it sends is cut where the test wants it, what it gets is read to the last byte."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

from invoker.front.connection import CallerConnection
from invoker.protocols.base import JSON
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from tests.invoker.conftest import Gateway, started, unchunk
from tests.invoker.fakes import URL, Answer

Received = tuple[int, bytes]
IDLE_TURNS = 20
"""In so many turns of the loop without a byte, all that can happen without the upstream has happened."""


class Caller:
    """One end of a connection whose other end was made by `factory`, on the same loop."""

    def __init__(self, end: socket.socket, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        self.received = b""
        self.closed = False
        self.transport = transport
        self.protocol = protocol
        self._end = end

    def feed(self, *pieces: bytes) -> None:
        """Have the connection read these pieces, each by itself."""
        for piece in pieces:
            if self.transport.is_closing():
                return
            cast(asyncio.Protocol, self.transport.get_protocol()).data_received(piece)

    def send(self, data: bytes) -> int:
        """Write as much as goes; how much that was."""
        return self._end.send(data)

    def leave(self) -> None:
        self._end.close()

    async def settle(self, *, read: bool = True) -> None:
        """Until nothing happens any more, reading what comes."""
        idle_turns = 0
        while idle_turns < IDLE_TURNS:
            await asyncio.sleep(0)
            idle_turns += 1
            if read and self.read(65536):
                idle_turns = 0

    def read(self, most: int) -> bool:
        """What is there; whether anything was."""
        try:
            data = self._end.recv(most)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        self.received += data
        self.closed = not data
        return bool(data)

    async def answers(self) -> list[Received]:
        """Status and body of all that have come, once no more come."""
        await self.settle()
        return split_answers(self.received)


@contextlib.asynccontextmanager
async def calling(factory: Callable[[], asyncio.Protocol]) -> AsyncIterator[Caller]:
    """A caller whose connection is aborted at the end."""
    here, there = socket.socketpair()
    here.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_unix_connection(factory, sock=there)
    try:
        yield Caller(here, transport, protocol)
    finally:
        here.close()
        transport.abort()
        await asyncio.sleep(0)


async def echo(body: bytes) -> Answer:
    """An upstream whose output is its input, so that each answer shows whose it is."""
    return 200, b'{"worklet_output": %b}' % json.dumps(json.loads(body)["worklet_input"]["input"]).encode(), {}


@contextlib.asynccontextmanager
async def gateways() -> AsyncIterator[Gateway]:
    """A gateway before an echo, for tests that can't have the fixture."""
    async with started(Gateway(Models({"m": Model(single(URL), 60.0)}, None))) as gateway:
        gateway.script = echo
        yield gateway


async def large(_body: bytes) -> Answer:
    """An upstream whose answer doesn't fit into buffers."""
    return 200, b'{"worklet_output": "%b"}' % (b"x" * 1_500_000), {}


def connection_of(caller: Caller) -> CallerConnection:
    assert isinstance(caller.protocol, CallerConnection)
    return caller.protocol


def body_of(value: object) -> bytes:
    return json.dumps({"worklet_input": {"model_id": "m", "input": value}}).encode()


def invoke(body: bytes, *lines: str) -> bytes:
    """A plain request, with further header lines."""
    head = ["POST /invoke HTTP/1.1", "Host: gateway", f"Content-Type: {JSON}", *lines, f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answered(value: object) -> Received:
    """What `echo` makes of it."""
    return 200, b'{"worklet_output":%b,"success":true,"latency_ms":0.0,"error_log":""}' % json.dumps(value).encode()


def split_answers(data: bytes) -> list[Received]:
    """A ValueError if what came is no row of whole answers."""
    answers = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if not end or not first.startswith("HTTP/"):
            raise ValueError(f"no answer: {head[:100]!r}")
        status = int(first.split()[1])
        if status == 100:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body, data = unchunk(data), b""  # a chunked one is only asked for as the last
        else:
            length = int(headers["content-length"])
            body, data = data[:length], data[length:]
            if len(body) < length:
                raise ValueError(f"{length - len(body)} bytes are missing")
        answers.append((status, body))
    return answers
