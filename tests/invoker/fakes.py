"""Fakes of what the domain is given, each at its Protocol."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from invoker.http.pieces import Body
from invoker.protocols.base import JSON_LINES
from invoker.routing.endpoints import single
from invoker.routing.limits import Slots
from invoker.routing.models import Model, Models
from invoker.routing.places import Tallies
from invoker.upstream.port import Exchange, Give, Upstream, UpstreamError
from shared.record import ErrorType, Record

URL = "http://upstream.test/invoke"
START_US = 1_705_314_600_000_000  # 2024-01-15T10:30:00Z
Answer = tuple[int, Body, Mapping[bytes, bytes]]
"""HTTP status, body, and headers by their names in lower case."""

GOOD: Answer = (200, b'{"worklet_output": [6, 7]}', {})


class FakeClock:
    """Stands still until it is moved; both of its times move together."""

    def __init__(self) -> None:
        self.elapsed_us = 0

    def now_us(self) -> int:
        return START_US + self.elapsed_us

    def monotonic_us(self) -> int:
        return self.elapsed_us


class FakeJournal:
    """Keeps the records of ended calls, and which calls have begun and not ended."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.open: set[int] = set()
        self._calls = 0

    def begin(self, _begun: object) -> int:
        self._calls += 1
        self.open.add(self._calls)
        return self._calls

    def append(self, record: Record, call: int = 0) -> None:
        self.records.append(record)
        self.open.discard(call)


class FakeExchange:
    """An answer that is whole, or comes in pieces, and breaks off after them if it has a header `breaks-off`, or stands
    still if it has one of that name."""

    def __init__(self, status: int, body: Body, headers: Mapping[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes]:
        for piece in [self._body] if isinstance(self._body, bytes) else self._body:
            yield bytes(piece)
            await asyncio.sleep(0)
        if b"stands-still" in self.headers:
            await asyncio.Event().wait()
        if b"breaks-off" in self.headers:
            raise UpstreamError(ErrorType.INVALID_RESPONSE, "it broke off")

    def give(self, give: Give) -> None:
        """Nobody waits long for what is here."""

    async def whole(self) -> Body:
        return self._body

    def leave(self) -> None:
        pass

    def abort(self) -> None:
        pass


async def post(upstream: Upstream, url: str, body: bytes, headers: bytes = JSON_LINES) -> Answer:
    """A whole answer."""
    exchange = await upstream.open(url, body, headers)
    return exchange.status, await exchange.whole(), exchange.headers


class FakeUpstream:
    """Does what it is told to: `script` is called with each body and gives the answer or raises. `headers`: what each
    request had of them beside the lines that say that it is JSON."""

    def __init__(self, script: Callable[[bytes], Awaitable[Answer]]) -> None:
        self.posts: list[tuple[str, bytes]] = []
        self.headers: list[bytes] = []
        self.methods: list[bytes] = []
        self.addresses: list[str] = []
        self._script = script

    async def open(
        self, endpoint: str, body: Body, headers: bytes = b"", method: bytes = b"POST", address: str = ""
    ) -> Exchange:
        self.addresses.append(address)
        self.methods.append(method)
        whole = body if isinstance(body, bytes) else b"".join(body)
        self.posts.append((endpoint, whole))
        self.headers.append(headers.removeprefix(JSON_LINES))
        return FakeExchange(*await self._script(whole))


class Gate:
    """A script that answers only once it is opened."""

    def __init__(self, answer: Answer = GOOD) -> None:
        self.opened = asyncio.Event()
        self._answer = answer

    async def __call__(self, _body: bytes) -> Answer:
        await self.opened.wait()
        return self._answer


def models(default: Model | None = None, **named: Model) -> Models:
    """Models by name, beside a default that waits for a minute; what their limits are counted with is to be given."""
    made = Models(named, default or Model(single(URL), 60.0))
    Slots(Tallies(1)).give(made.limits())
    return made
