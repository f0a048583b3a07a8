"""Connections that wait for a call: how many, how long, and which is next."""

import asyncio

import pytest
from aiohttp import web

from invoker.upstream.connection import Connection
from invoker.upstream.idle import IdleConnections
from invoker.upstream.pool import PooledUpstream
from shared.clock import SystemClock
from tests.invoker.conftest import until
from tests.invoker.fakes import FakeClock, post
from tests.invoker.front.hostile import HostileServer, http, keeping_alive, serving
from tests.invoker.upstream.test_connection import connection

SECOND_US = 1_000_000


async def open_to(server: HostileServer) -> Connection:
    host, port = server.url.split("/")[2].split(":")
    made = Connection(1000, lambda _free: None)
    await asyncio.get_running_loop().create_connection(lambda: made, host, int(port))
    return made


async def test_an_idle_connection_is_closed_when_its_time_is_over() -> None:
    """Without any further call; those of all origins, each in its own time."""
    async with serving(keeping_alive(http(b"{}"))) as server:
        idle = IdleConnections(SystemClock(), keepalive_us=50_000)
        for origin in ("a", "a", "b"):
            idle.keep(origin, await open_to(server))
            await asyncio.sleep(0.01)
        await asyncio.wait_for(server.all_closed.wait(), 20)
        assert (idle.count, idle.take("a"), idle.take("b")) == (0, None, None)
        last = await open_to(server)
        idle.keep("a", last)  # and so is one that comes after all were closed
        await until(lambda: not last.reusable)
        assert idle.count == 0
        idle.close()


async def test_the_one_used_last_is_next_while_it_is_young() -> None:
    """And none that is as old as servers close them at."""
    clock = FakeClock()
    idle = IdleConnections(clock, keepalive_us=4 * SECOND_US)
    async with connection() as first, connection() as second:
        idle.keep("a", first)
        clock.elapsed_us += 2 * SECOND_US
        idle.keep("a", second)
        assert idle.take("b") is None
        assert idle.take("a") is second
        idle.keep("a", second)
        clock.elapsed_us += 2 * SECOND_US
        assert idle.take("a") is second
        assert (idle.take("a"), first.reusable, idle.count) == (None, False, 0)
    idle.close()


async def test_a_limit_for_all_origins() -> None:
    """One more is closed at once, and there is room again when one is taken."""
    idle = IdleConnections(FakeClock(), limit=2)
    async with connection() as first, connection() as second, connection() as third, connection() as fourth:
        for origin, each in (("a", first), ("b", second), ("c", third)):
            idle.keep(origin, each)
        assert (idle.count, third.reusable) == (2, False)
        assert idle.take("a") is first
        idle.keep("c", fourth)
        assert (idle.count, idle.take("c")) == (2, fourth)
        idle.close()
        assert (idle.count, second.reusable) == (0, False)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Keep-Alive: timeout=2", 1.6),
        ("keep-alive: max=100, TIMEOUT=1", 0.8),
        ("Keep-Alive: timeout=0", 0),
        ("Keep-Alive: timeout=60", 4),
        ("Keep-Alive: timeout=x", 4),
        ("X: timeout=1", 4),
    ],
)
@pytest.mark.parametrize("chunked", [True, False])
async def test_no_longer_than_the_server_says(said: str, seconds: float, chunked: bool) -> None:
    """Nor than what most servers have, whatever it says."""
    clock = FakeClock()
    upstream = PooledUpstream(clock, 1000)
    answer = http(b"{}", said)
    if chunked:
        answer = answer.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2] + b"2\r\n{}\r\n0\r\n\r\n"
    async with serving(keeping_alive(answer)) as server:
        await post(upstream, server.url, b"")
        if seconds:
            clock.elapsed_us += round(seconds * SECOND_US) - 1
            await post(upstream, server.url, b"")
            assert server.accepted == 1
        clock.elapsed_us += round(seconds * SECOND_US)
        await post(upstream, server.url, b"")
        assert server.accepted == 2
        await upstream.close()


async def test_calls_at_the_edge_of_a_server_s_patience() -> None:
    """It ends idle connections after a moment that it tells nobody of: whatever is on its way then, no call fails."""
    answered = 0

    async def count(_request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        return web.Response(body=b"{}")

    app = web.Application()
    app.router.add_post("/", count)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream = PooledUpstream(SystemClock(), 1000)

    async def call(number: int) -> None:
        await asyncio.sleep(0.05 + number % 40 * 0.0005 - 0.01)
        assert (await post(upstream, f"http://127.0.0.1:{runner.addresses[0][1]}/", b"{}"))[0] == 200

    for _ in range(5):
        await asyncio.gather(*(call(number) for number in range(80)))
    assert answered == 400  # each once
    await upstream.close()
    await runner.cleanup()


@pytest.mark.parametrize("calls", [1, 20])
async def test_the_upstream_is_let_go(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its last call, a model server sees all its connections closed."""
    monkeypatch.setattr(IdleConnections.__init__, "__defaults__", (50_000, 2048))
    async with serving(keeping_alive(http(b"{}"))) as server:
        upstream = PooledUpstream(SystemClock(), 1000)
        await asyncio.gather(*(post(upstream, server.url, b"") for _ in range(calls)))
        await asyncio.wait_for(server.all_closed.wait(), 20)
        await upstream.close()
