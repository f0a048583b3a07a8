"""How calls and connections end: callers that leave, or send too much, or read nothing."""

import asyncio

import pytest

from invoker.front.connection import MAX_AHEAD_BYTES
from invoker.http.heads import MAX_HEAD_BYTES
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, until
from tests.invoker.fakes import Gate
from tests.invoker.front.callers import answered, body_of, calling, connection_of, echo, invoke, large

REQUEST = invoke(body_of(1))


def errors(gateway: Gateway) -> list[str | None]:
    return [record.error_type for record in gateway.journal.records]


# Callers that leave.


@pytest.mark.parametrize("sent", [0, 1, REQUEST.find(b"{"), len(REQUEST) - 1])
async def test_a_caller_that_leaves_before_its_request_is_whole(gateway: Gateway, sent: int) -> None:
    """There was no call, and so no record; nothing is left of the connection, and it is counted if one had begun."""
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST[:sent])
        caller.leave()
        await until(lambda: gateway.connections.count == 0)
    assert gateway.rejected == ({"incomplete_request": 1} if sent else {})
    assert (gateway.journal.records, gateway.upstream.posts) == ([], [])


async def test_a_caller_that_leaves_before_its_call_begins(gateway: Gateway) -> None:
    """A request that is whole when the connection ends in the same moment is no call yet."""
    async with calling(gateway.connections.protocol) as caller:
        await caller.settle()
        caller.feed(REQUEST)
        connection_of(caller).connection_lost(None)
        await caller.settle()
    assert (gateway.journal.records, gateway.upstream.posts) == ([], [])


async def test_a_caller_that_leaves_in_mid_call(gateway: Gateway) -> None:
    """One record for the call that was made; none for those that it had sent ahead."""
    gateway.script = Gate()
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST * 3)
        await until(lambda: gateway.upstream.posts)
        caller.leave()
        await until(lambda: gateway.connections.count == 0)
        await caller.settle(read=False)
    assert errors(gateway) == [ErrorType.CLIENT_DISCONNECTED]
    assert (len(gateway.upstream.posts), gateway.invoker.in_flight.total) == (1, 0)


async def test_a_caller_that_leaves_as_its_answer_comes(gateway: Gateway) -> None:
    """One record, and no write to what is gone."""
    gateway.script = gate = Gate()
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST)
        await until(lambda: gateway.upstream.posts)
        gate.opened.set()
        caller.transport.abort()
        await until(lambda: gateway.connections.count == 0)
        await caller.settle(read=False)
    assert len(gateway.journal.records) == 1


async def test_a_caller_that_leaves_as_the_worker_ends_its_call(gateway: Gateway) -> None:
    """Two cancel the call in one moment, which is seen as one: the connection's task ends all the same."""
    gateway.script = Gate()
    before = asyncio.all_tasks()
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST)
        await until(lambda: gateway.upstream.posts)
        (task,) = asyncio.all_tasks() - before
        draining = asyncio.create_task(gateway.invoker.drain(0.0))
        while not task.cancelling():
            await asyncio.sleep(0)
        connection_of(caller).connection_lost(None)
        await draining
        await caller.settle(read=False)
        assert asyncio.all_tasks() == before
    assert errors(gateway) == [ErrorType.DRAINING]


async def test_a_defect_is_answered(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug costs one caller one answer, and not its connection."""
    caplog.set_level("CRITICAL")
    gateway.script = echo
    async with calling(gateway.connections.protocol) as caller:
        with monkeypatch.context() as broken:
            broken.setattr(gateway.invoker, "models", None)
            caller.feed(REQUEST)
            assert [status for status, _ in await caller.answers()] == [500]
        caller.feed(REQUEST)
        assert (await caller.answers())[1:] == [answered(1)]


# Callers that don't read, or write too much.


@pytest.mark.usefixtures("read_on_the_loop")
async def test_a_caller_that_does_not_read(gateway: Gateway) -> None:
    """It gets one answer into its buffers; the next request begins once that has gone out."""
    gateway.script = large
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST * 3)
        await caller.settle(read=False)
        assert len(gateway.upstream.posts) == 1
        caller.feed(REQUEST)  # comes while nothing can be written
        await caller.settle(read=False)
        assert len(gateway.upstream.posts) == 1
        assert [status for status, _ in await caller.answers()] == [200] * 4


async def test_what_is_sent_ahead_is_bounded(gateway: Gateway) -> None:
    """While a call lasts, no more is read than a bound; afterwards all that was sent is answered."""
    gateway.script = gate = Gate()
    count = 12 * MAX_AHEAD_BYTES // len(REQUEST)
    async with calling(gateway.connections.protocol) as caller:
        data = REQUEST * count
        sent = 0
        for _ in range(100):
            try:
                sent += caller.send(data[sent : sent + 65536])
            except BlockingIOError:
                break
            await caller.settle()
        assert not caller.transport.is_reading()
        assert sent < len(data)
        gate.opened.set()
        while sent < len(data):
            await caller.settle()
            sent += caller.send(data[sent : sent + 65536])
        assert len(await caller.answers()) == count


async def test_a_body_in_small_pieces_costs_little_memory(gateway: Gateway) -> None:
    """It is kept in few, and is whole in the end."""
    gateway.script = echo
    request = invoke(body_of("x" * 9_000))
    begin = request.find(b"{")
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(request[:begin], *(request[place : place + 2] for place in range(begin, begin + 9_020, 2)))
        kept = connection_of(caller)._body
        assert sum(map(len, kept)) > 9_000
        assert len(kept) < 5
        caller.feed(request[begin + 9_020 :])
        assert await caller.answers() == [answered("x" * 9_000)]


async def test_aiohttp_reads_on_where_reading_was_paused(gateway: Gateway) -> None:
    """A request that isn't plain, behind more than may be sent ahead, gets its answer, and so does the next."""
    gateway.script = gate = Gate()
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"x" * 1000)
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST, health * (MAX_AHEAD_BYTES // len(health) + 1))
        assert not caller.transport.is_reading()
        gate.opened.set()
        count = len(await caller.answers())
        assert count == 2 + MAX_AHEAD_BYTES // len(health)
        assert caller.transport.is_reading()
        caller.send(health)
        assert len(await caller.answers()) == count + 1


async def test_a_head_without_end_is_for_aiohttp(gateway: Gateway) -> None:
    """It is not kept beyond its limit; aiohttp refuses it at its own."""
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(REQUEST[:30] + b"x" * (MAX_HEAD_BYTES - 30))
        await caller.settle()
        assert caller.received == b""
        caller.feed(b"x", b"x" * MAX_HEAD_BYTES)
        await caller.settle()
        assert caller.received.startswith(b"HTTP/1.1 431 ")
