"""A gateway on fakes, served on a real port, and a client that writes requests byte by byte."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import uvloop
from multidict import CIMultiDict

from invoker.call.invocation import Invoker
from invoker.front.answering import Answering
from invoker.front.app import make_app
from invoker.front.held_bodies import HeldBodies
from invoker.front.listener import Connections
from invoker.front.worker import Worker
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.base import Protocol
from invoker.protocols.kserve import KServe
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.openai import OpenAI
from invoker.protocols.worklet import Worklet
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from invoker.routing.states import UpstreamsAnswer, limits_of, merged, states_of
from shared.addresses import BACKLOG
from shared.serving import running
from tests.invoker.fakes import GOOD, URL, Answer, FakeClock, FakeJournal, FakeUpstream

BODY_LIMIT = 10_000


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the workers run on."""
    return {"uvloop": uvloop.new_event_loop}


class Reply:
    """One answer as it came over the wire."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """The gateway's routes on a fake upstream and journal. Set `script` to have the upstream do otherwise."""

    def __init__(self, models: Models, sidecar_url: str = "http://127.0.0.1:1", max_connections: int = 100) -> None:
        self.journal = FakeJournal()
        self.upstream = FakeUpstream(self._answer)
        self.script: Any = None
        self.url = ""
        self.port = 0
        self.invoker = Invoker(models, self.upstream, self.journal, FakeClock(), 100)
        self.large_bodies = LargeBodies()
        bodies = self.large_bodies
        protocols: list[Protocol] = [Worklet(bodies), OpenAI(bodies), Anthropic(bodies), KServe(bodies)]
        self.answering = Answering(self.invoker, protocols, BODY_LIMIT, HeldBodies(32 * BODY_LIMIT))
        self.rejected = self.answering.rejected
        self.connections = Connections(self.answering, max_connections)
        self.worker = Worker(
            self.invoker, self.answering, self.connections, list, sidecar_url, self.upstream, self.upstreams
        )

    async def upstreams(self) -> UpstreamsAnswer:
        return merged([states_of(self.invoker.models, FakeClock())], limits_of(self.invoker.models))

    async def _answer(self, body: bytes) -> Answer:
        return GOOD if self.script is None else await self.script(body)

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """One request with exactly these headers, `_` in a name standing for `-`."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close", *lines, "", ""])
        return await self.raw(head.encode() + body)

    async def raw(self, data: bytes) -> Reply:
        """The answer to these bytes, read until the gateway closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            body = await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
        status, _, lines = head.decode().partition("\r\n")
        headers: CIMultiDict[str] = CIMultiDict()
        for line in lines.strip().split("\r\n"):
            headers.add(*line.split(": ", 1))
        if headers.get("Transfer-Encoding") == "chunked":
            body = unchunk(body)
        return Reply(int(status.split()[1]), headers, body)


async def until(reached: Callable[[], object]) -> None:
    """Wait for what is bound to happen; a TimeoutError if it doesn't."""
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.001)


def unchunk(body: bytes) -> bytes:
    """What a chunked body holds; a ValueError if it isn't whole."""
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]


@contextlib.asynccontextmanager
async def started(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Served, until the end."""
    async with running(make_app(gateway.worker), grace_s=0.1) as runner:
        assert runner.server is not None
        gateway.connections.serve(runner.server)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(gateway.connections.protocol, "127.0.0.1", 0, backlog=BACKLOG)
        gateway.port = listener.sockets[0].getsockname()[1]
        gateway.url = f"http://127.0.0.1:{gateway.port}"
        try:
            yield gateway
        finally:
            listener.close()
            await gateway.connections.close(grace_s=0.1)
            await gateway.large_bodies.close()


@pytest.fixture
def read_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large answers aren't given to another process, whose time isn't counted in turns of the loop."""
    monkeypatch.setattr("invoker.call.answers.LARGE_BYTES", 2_000_000)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway with one model of its own, and no upstream for others."""
    async with started(Gateway(Models({"m": Model(single(URL), 60.0)}, None))) as one:
        yield one


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as one:
        yield one
