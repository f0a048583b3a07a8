"""Callers beyond the limit of connections: each is told, none holds anything for long, and health is answered."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from invoker.front import refusal
from invoker.front.refusal import BODY, REFUSAL, RESERVE
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared import lingering
from tests.invoker.conftest import Gateway, started, until
from tests.invoker.fakes import URL
from tests.invoker.front.callers import body_of, invoke

LIMIT = 2
REQUEST = invoke(body_of(1))


@pytest.fixture
async def full() -> AsyncIterator[Gateway]:
    """A gateway that has as many connections as it may."""
    gateway = Gateway(Models({"m": Model(single(URL), 60.0)}, None), max_connections=LIMIT)
    async with started(gateway):
        with contextlib.ExitStack() as opened:
            for _ in range(LIMIT):
                opened.enter_context(connect(gateway))
            await until(lambda: gateway.connections.count == LIMIT)
            yield gateway


def connect(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), 20)


def ask(gateway: Gateway, *pieces: bytes) -> bytes:
    """What comes back to one who sends all before it reads."""
    with connect(gateway) as caller:
        for piece in pieces:
            caller.sendall(piece)
        return read_all(caller)


def read_all(caller: socket.socket) -> bytes:
    return b"".join(iter(lambda: caller.recv(65536), b""))


@pytest.mark.parametrize("size", [1, 10_000, 8 * 1024 * 1024])
async def test_each_caller_sees_its_refusal(full: Gateway, size: int) -> None:
    """20 of 20, however much they send before they read."""
    request = invoke(b"x" * size)
    answers = await asyncio.gather(*(asyncio.to_thread(ask, full, request) for _ in range(20)))
    assert answers == [REFUSAL] * 20
    assert full.rejected == {"connection_limit": 20}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose"])
@pytest.mark.parametrize("cut", [0, 1, 5, 12, 13, 20])
async def test_health_is_answered_beyond_the_limit(full: Gateway, path: str, cut: int) -> None:
    """In however many pieces it is asked for; and the connection ends with it."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answer = await asyncio.to_thread(ask, full, head[:cut], head[cut:])
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    await until(lambda: full.connections.count == LIMIT)
    assert full.rejected == {}


@pytest.mark.parametrize("head", [b"GET /health HTTP/1.1", b"GET /metrics HTTP/1.1", b"POST /healthz HTTP/1.1", b"\r"])
async def test_nothing_else_is(full: Gateway, head: bytes) -> None:
    """The reserve is for whoever must know whether the gateway lives."""
    assert await asyncio.to_thread(ask, full, head + b"\r\nHost: x\r\n\r\n") == REFUSAL


async def test_who_says_nothing_is_refused_soon(full: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserve isn't for waiting."""
    monkeypatch.setattr(refusal, "WAIT_S", 0.01)
    assert await asyncio.to_thread(ask, full) == REFUSAL


async def test_the_silent_do_not_shut_out_a_probe(full: Gateway) -> None:
    """Whoever has waited longest makes room, so that who asks at once is heard."""
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(connect(full)) for _ in range(RESERVE)]
        await until(lambda: len(full.connections._refusals.waiting) == RESERVE or full.rejected)
        answer = await asyncio.to_thread(ask, full, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await asyncio.to_thread(read_all, silent[0]) == REFUSAL


async def test_probes_that_never_end_have_a_bound(full: Gateway) -> None:
    """Of connections that begin like one there are no more than the reserve."""
    with contextlib.ExitStack() as opened:
        for _ in range(RESERVE):
            opened.enter_context(connect(full)).sendall(b"GET /healthz HTTP/1.1\r\n")
        await until(lambda: full.connections.count == LIMIT + RESERVE)
        assert await asyncio.to_thread(ask, full, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == REFUSAL


@pytest.mark.parametrize(("bound", "value"), [("LINGER_S", 0.05), ("LINGER_BYTES", 100_000)])
async def test_a_refused_caller_that_goes_on_is_closed(
    full: Gateway, monkeypatch: pytest.MonkeyPatch, bound: str, value: float
) -> None:
    """After a time, or so many bytes."""
    monkeypatch.setattr(lingering, bound, value)
    with connect(full) as caller:
        caller.sendall(REQUEST)
        await until(lambda: full.connections._refusals.lingering)
        if bound == "LINGER_BYTES":
            with contextlib.suppress(ConnectionError):
                caller.sendall(bytes(200_000))
        await until(lambda: not full.connections._refusals.lingering)
        assert BODY in await asyncio.to_thread(caller.recv, 65536) or bound == "LINGER_BYTES"


@pytest.mark.parametrize("more", [REQUEST, b"X", bytes(8 * 1024 * 1024)])
async def test_the_last_answer_reaches_a_caller_that_sends_on(more: bytes) -> None:
    """One that is drained, or too slow, whatever comes behind its request."""
    async with started(Gateway(Models({"m": Model(single(URL), 60.0)}, None))) as gateway:
        gateway.invoker.admission.draining = True
        answer = await asyncio.to_thread(ask, gateway, REQUEST, more)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1
        await until(lambda: gateway.connections.count == 0)


async def test_of_more_refused_callers_than_may_linger_the_oldest_is_closed(full: Gateway) -> None:
    """What a refusal keeps has a bound, too."""
    refusals = full.connections._refusals
    refusals._max_lingering = 1
    with connect(full) as first, connect(full) as second:
        first.sendall(REQUEST)
        await until(lambda: refusals.lingering)
        (oldest,) = refusals.lingering
        second.sendall(REQUEST)
        await until(lambda: full.rejected == {"connection_limit": 2})
        assert len(refusals.lingering) == 1
        assert oldest not in refusals.lingering
        assert await asyncio.to_thread(read_all, first) == REFUSAL
