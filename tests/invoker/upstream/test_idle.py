"""Connections that wait for a call: how many, how long, and which is next."""

import asyncio

import pytest

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


@pytest.mark.parametrize("calls", [1, 20])
async def test_the_upstream_is_let_go(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its last call, a model server sees all its connections closed."""
    monkeypatch.setattr(IdleConnections.__init__, "__defaults__", (50_000, 2048))
    async with serving(keeping_alive(http(b"{}"))) as server:
        upstream = PooledUpstream(SystemClock(), 1000)
        await asyncio.gather(*(post(upstream, server.url, b"") for _ in range(calls)))
        await asyncio.wait_for(server.all_closed.wait(), 20)
        await upstream.close()
