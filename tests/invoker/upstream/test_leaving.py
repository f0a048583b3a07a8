"""A stream's last event has come and its last chunk hasn't: its connection is for the next call once it has."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from invoker.upstream.exchange import MAX_UNREAD_BYTES, WireExchange
from invoker.upstream.leaving import MAX_REST_BYTES, Leaving
from invoker.upstream.pool import PooledUpstream
from shared.clock import SystemClock
from tests.invoker.conftest import Gateway, started, until
from tests.invoker.front.hostile import Connection, HostileServer, serving
from tests.invoker.upstream.test_exchange import END, STREAM, Script, chunk, used_again

DONE = chunk(b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


@pytest.fixture
async def upstream() -> AsyncIterator[PooledUpstream]:
    made = PooledUpstream(SystemClock(), 8 * 1024 * 1024, max_idle=2)
    yield made
    await made.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for long."""
    monkeypatch.setattr(Leaving.__init__, "__defaults__", (0.05,))


async def left(upstream: PooledUpstream, server: HostileServer) -> WireExchange:
    """A stream whose last event has been taken, as its reader does."""
    exchange = await upstream.open(server.url, b"{}")
    async for _ in exchange.chunks():
        exchange.leave()
        break
    return exchange


@pytest.mark.parametrize("framed", [True, False])
async def test_the_connection_is_for_the_next_call_once_the_end_has_come(
    upstream: PooledUpstream, framed: bool
) -> None:
    """Not before; and nobody waits for that."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM if framed else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(DONE) + 1), DONE)
        exchange = await left(upstream, server)
        exchange.leave()
        exchange.abort()
        assert upstream._idle.count == 0
        script.send(END if framed else b"\n", b"")
        await until(lambda: upstream._idle.count == 1)
        assert await used_again(upstream, server)


@pytest.mark.usefixtures("soon")
async def test_an_end_that_does_not_come_is_not_waited_for_long(upstream: PooledUpstream) -> None:
    """The upstream sees its connection closed; each in its own time."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM + DONE, b"")
        for _ in range(3):
            await left(upstream, server)
            await asyncio.wait_for(server.all_closed.wait(), 10)
            script.send(STREAM + DONE, b"")
        assert upstream._idle._limit == 2


async def test_much_more_is_not_waited_for(upstream: PooledUpstream) -> None:
    """Also if it comes in pieces, or with the end."""
    for rest in ([chunk(b"x" * (MAX_REST_BYTES + 1)), END], [chunk(b"x" * 1024)] * 5):
        script = Script()
        async with serving(script) as server:
            script.send(STREAM + DONE)
            await left(upstream, server)
            script.send(*rest, b"")
            await asyncio.wait_for(server.all_closed.wait(), 10)
        assert (upstream._idle.count, upstream._idle._limit) == (0, 2)


async def test_what_breaks_off_or_is_no_http_is_no_failure_of_anyone(upstream: PooledUpstream) -> None:
    """Its caller has had all."""
    for rest in (b"", b"garbage"):
        script = Script()
        async with serving(script) as server:
            script.send(STREAM + DONE)
            await left(upstream, server)
            script.send(rest, b"")
            await server.stop()
            await until(lambda: upstream._idle._limit == 2)
        assert upstream._idle.count == 0


async def test_who_had_the_upstream_wait_lets_it_go_on(upstream: PooledUpstream) -> None:
    """Reading was paused as the caller was slow."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM)
        exchange = await upstream.open(server.url, b"{}")
        script.send(*[chunk(b"x" * 65_536)] * 5)
        await until(lambda: exchange._unread_bytes > MAX_UNREAD_BYTES)
        exchange.leave()
        script.send(END, b"")
        await until(lambda: upstream._idle.count == 1)


async def test_they_have_their_room_among_the_idle_ones(upstream: PooledUpstream) -> None:
    """One more is closed at once; and all are when the upstream is."""
    script = Script()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(STREAM + DONE)
        await connection.closed_by_peer()

    async with serving(handle) as server:
        for open_then in (1, 2, 2):
            await left(upstream, server)
            await until(lambda: server.open == open_then)  # noqa: B023  # waited for here
        await upstream.close()
        await asyncio.wait_for(server.all_closed.wait(), 10)
    assert script.sent == 0
    assert upstream._idle._limit == 2


async def test_streams_one_after_the_other_share_a_connection() -> None:
    """Though their model server sends each one's last chunk later than its last event, as most do."""
    finished: asyncio.Queue[None] = asyncio.Queue()

    async def handle(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(STREAM + DONE)
            await finished.get()
            await connection.send(END)

    async with serving(handle) as server:
        model = Model(single(server.url), 60.0)
        gateway = Gateway(Models({}, None, dialects={"openai": Models({"m": model}, None)}))
        gateway.invoker._upstream = upstream = PooledUpstream(SystemClock(), 1000)
        async with started(gateway):
            for _ in range(100):
                reply = await gateway.request("POST", "/v1/chat/completions", b'{"model": "m", "stream": true}')
                assert (reply.status, reply.body[-8:]) == (200, b"[DONE]\n\n")
                finished.put_nowait(None)
                await until(lambda: upstream._idle.count == 1)
        assert server.accepted == 1
        await upstream.close()
