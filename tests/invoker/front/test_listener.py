"""Connections in time and number: those that hang are ended, those beyond the limit refused, all closed at the end."""

import asyncio
import contextlib
import socket

import pytest

from invoker.front import listener, request_body
from invoker.front.listener import IDLE_S, STALLED_S, SWEEP_S
from invoker.front.refusal import REFUSAL
from tests.invoker.conftest import Gateway, until
from tests.invoker.fakes import Gate
from tests.invoker.front.callers import answered, body_of, calling, echo, invoke, large

REQUEST = invoke(body_of(1))
TIMED_OUT = (
    408,
    b'{"worklet_output":null,"success":false,"latency_ms":0.0,"error_log":"%b"}'
    % b"The request did not come to its end in time",
)


def pass_time(gateway: Gateway, seconds: int) -> None:
    """Move the clock of the connections on, which from now on stands still otherwise, and have it look for those
    that hang, as it does every few seconds."""
    assert gateway.connections._clock is not None
    gateway.connections._clock.cancel()
    for _ in range(0, seconds, SWEEP_S):
        gateway.connections.now += SWEEP_S
        gateway.connections.sweep()


@pytest.mark.parametrize(
    "sent", [REQUEST[:1], REQUEST[:50], REQUEST[: REQUEST.find(b"{")], REQUEST[:-1], b"GET / HTTP/1.1"]
)
async def test_a_request_that_does_not_go_on_is_408(gateway: Gateway, sent: bytes) -> None:
    """Not before its time; then it is answered, counted and disconnected, and is no call."""
    async with calling(gateway.connections.protocol) as caller:
        pass_time(gateway, IDLE_S - SWEEP_S)
        caller.feed(sent)
        pass_time(gateway, STALLED_S)
        await caller.settle()
        assert caller.received == b""
        pass_time(gateway, SWEEP_S)
        assert await caller.answers() == [TIMED_OUT]
        assert caller.closed
    assert (gateway.rejected, gateway.journal.records) == ({"request_timeout": 1}, [])


async def test_a_head_that_drips_is_408_and_a_body_is_not(gateway: Gateway) -> None:
    """A head has a time in all; of a body only the pieces have."""
    gateway.script = echo
    async with calling(gateway.connections.protocol) as dripping, calling(gateway.connections.protocol) as sending:
        sending.feed(REQUEST[:-30])
        for place in range(30):
            dripping.feed(REQUEST[place : place + 1])
            sending.feed(REQUEST[place - 30 :][:1])
            pass_time(gateway, SWEEP_S)
            await dripping.settle()
        assert await dripping.answers() == [TIMED_OUT]
        assert await sending.answers() == [answered(1)]


async def test_an_idle_connection_is_closed(gateway: Gateway) -> None:
    """Without a word, after its time since the last answer; one whose model is waited for is not idle."""
    gateway.script = echo
    async with calling(gateway.connections.protocol) as idle, calling(gateway.connections.protocol) as waiting:
        pass_time(gateway, IDLE_S - SWEEP_S)
        idle.feed(REQUEST)
        await idle.settle()
        gateway.script = Gate()
        waiting.feed(REQUEST)
        pass_time(gateway, IDLE_S)
        assert (await idle.answers(), idle.closed) == ([answered(1)], False)
        pass_time(gateway, SWEEP_S)
        assert (await idle.answers(), idle.closed) == ([answered(1)], True)
        pass_time(gateway, 10 * IDLE_S)
        await waiting.settle()
        assert (waiting.closed, gateway.connections.count) == (False, 1)


@pytest.mark.parametrize("size", [1_500_000, 30_000])
async def test_a_caller_that_reads_nothing_for_long_is_disconnected(gateway: Gateway, size: int) -> None:
    """Whether much or little of its answers is left."""
    gateway.script = lambda _body: asyncio.sleep(0, (200, b'{"worklet_output": "%b"}' % (b"x" * size)))
    async with calling(gateway.connections.protocol) as caller:
        while not caller.transport.get_write_buffer_size():
            caller.feed(REQUEST)
            await caller.settle(read=False)
        pass_time(gateway, STALLED_S)
        await caller.settle(read=False)
        assert gateway.connections.count == 1
        pass_time(gateway, STALLED_S + 2 * SWEEP_S)
        await caller.settle(read=False)
        assert gateway.connections.count == 0


async def test_a_caller_that_reads_nothing_while_the_gateway_stands_still(gateway: Gateway) -> None:
    """When its time is over at once, it is not taken for idle, and closed once its answer is out: it never is."""
    gateway.script = lambda _body: asyncio.sleep(0, (200, b'{"worklet_output": "%b"}' % (b"x" * 30_000)))
    async with calling(gateway.connections.protocol) as caller:
        while not caller.transport.get_write_buffer_size():
            caller.feed(REQUEST)
            await caller.settle(read=False)
        for _ in range(3):
            gateway.connections.now += 2 * IDLE_S
            pass_time(gateway, SWEEP_S)
            await caller.settle(read=False)
        assert gateway.connections.count == 0


@pytest.mark.usefixtures("read_on_the_loop")
async def test_a_caller_that_reads_slowly_is_not(gateway: Gateway) -> None:
    """However long the whole answer takes."""
    gateway.script = large
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST)
        await caller.settle(read=False)
        while caller.transport.get_write_buffer_size():
            pass_time(gateway, STALLED_S)
            caller.read(250_000)  # with less, the kernel lets nothing more in
            await caller.settle(read=False)
        assert [status for status, _ in await caller.answers()] == [200]


async def test_a_body_that_aiohttp_waits_for_is_408(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that isn't plain has its time, too."""
    monkeypatch.setattr(request_body, "STALLED_S", 0.05)
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(b"POST /invoke HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await until(lambda: gateway.rejected)
        assert await caller.answers() == [TIMED_OUT]
    assert (gateway.rejected, gateway.journal.records) == ({"request_timeout": 1}, [])


# The limit, and the shutdown.


async def test_the_limit_holds_for_callers_that_come_at_once(gateway: Gateway) -> None:
    """As many are served as may be, before the first of them is a connection and when aiohttp serves some of them."""
    gateway.script = Gate()
    limit, beyond = 100, 30
    with contextlib.ExitStack() as opened:
        address = ("127.0.0.1", gateway.port)
        callers = [opened.enter_context(socket.create_connection(address)) for _ in range(limit + beyond)]
        for index, caller in enumerate(callers):
            caller.setblocking(False)
            caller.send(REQUEST if index % 2 else invoke(body_of(1), "X-Not-Plain: 1", "Content-Encoding: identity"))
        await until(lambda: gateway.rejected.get("connection_limit", 0) >= beyond)
        await until(lambda: len(gateway.upstream.posts) >= limit)
        assert (gateway.rejected, gateway.connections.count) == ({"connection_limit": beyond}, limit)
        assert await asyncio.get_running_loop().sock_recv(callers[-1], 1000) == REFUSAL
    await until(lambda: gateway.connections.count == 0)


@pytest.mark.usefixtures("read_on_the_loop")
async def test_the_shutdown_lets_answers_go_out(gateway: Gateway) -> None:
    """What is answered is read to its end by a caller that takes its time; idle connections are closed at once."""
    gateway.script = large
    async with calling(gateway.connections.protocol) as idle, calling(gateway.connections.protocol) as slow:
        await idle.settle()
        slow.feed(REQUEST)
        await slow.settle(read=False)
        await gateway.invoker.drain(0.0)
        closing = asyncio.create_task(gateway.connections.close(grace_s=10.0))
        await idle.settle()
        assert (idle.closed, closing.done()) == (True, False)
        assert [status for status, _ in await slow.answers()] == [200]
        await closing
    assert gateway.connections.count == 0


async def test_the_shutdown_waits_for_an_answer_that_is_being_made(gateway: Gateway) -> None:
    """A call that is recorded and waits for its record to be on the disk gets its answer."""
    gateway.script = gate = Gate()
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST)
        await until(lambda: gateway.upstream.posts)
        gateway.invoker.admission.draining = True
        closing = asyncio.create_task(gateway.connections.close(grace_s=10.0))
        await caller.settle()
        assert not closing.done()
        gate.opened.set()
        assert [status for status, _ in await caller.answers()] == [200]
        assert caller.closed
        await closing


@pytest.mark.usefixtures("read_on_the_loop")
async def test_the_shutdown_has_an_end(gateway: Gateway) -> None:
    """A caller that never reads is disconnected after the grace time."""
    gateway.script = large
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST)
        await caller.settle(read=False)
        await gateway.connections.close(grace_s=0.01)
        await caller.settle(read=False)
        assert gateway.connections.count == 0


@pytest.mark.usefixtures("read_on_the_loop")
async def test_the_system_ends_who_reads_nothing_of_aiohttps_answers(gateway: Gateway) -> None:
    """A connection that was handed over has its bound, too."""
    gateway.script = large
    gateway.connections.stalled_s = 1
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", gateway.port))
        caller.sendall(invoke(body_of(1), "Content-Encoding: identity") * 20)
        await until(lambda: gateway.journal.records)
        await until(lambda: gateway.connections.count == 0)


async def test_an_idle_connection_that_was_handed_over_is_closed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its last answer, and also before its first request is whole."""
    monkeypatch.setattr(listener, "IDLE_S", 0.05)
    for sent, count in ((b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1), (b"\r\n\r\nGET /healthz", 0)):
        async with calling(gateway.connections.protocol) as caller:
            caller.feed(sent)
            await until(lambda: gateway.connections.count == 0)
            assert (len(await caller.answers()), caller.closed) == (count, True)
