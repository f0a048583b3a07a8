"""Bodies and unread answers of all callers together have a bound, and nothing of them is held for good."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from invoker.front.held_bodies import SMALL_BYTES, HeldBodies
from tests.invoker.conftest import Gateway, until
from tests.invoker.fakes import Gate
from tests.invoker.front.callers import Caller, answered, body_of, calling, echo, invoke, large, split_answers

LIMIT = 200_000
BODY = body_of("x" * 150_000)
PLAIN = invoke(BODY)
CHUNKED = PLAIN.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked").replace(
    BODY, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
)
KINDS = pytest.mark.parametrize("request_", [PLAIN, CHUNKED])


@pytest.fixture
def bodies(gateway: Gateway) -> HeldBodies:
    """The gateway's, with a low bound."""
    answering = gateway.connections.answering
    answering.max_body_bytes = LIMIT
    answering.bodies.limit = LIMIT
    gateway.script = echo
    return answering.bodies


@contextlib.asynccontextmanager
async def connected(gateway: Gateway, data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data)
    try:
        yield reader, writer
    finally:
        writer.close()


async def status(reader: asyncio.StreamReader) -> int:
    return int((await asyncio.wait_for(reader.readuntil(b"\r\n"), 30)).split()[1])


async def taken(caller: Caller) -> None:
    """All of its answer."""
    while len(caller.received) < 1_500_000:
        await caller.settle()


@KINDS
async def test_a_body_beyond_the_bound_is_503(gateway: Gateway, bodies: HeldBodies, request_: bytes) -> None:
    """Another caller's that has not come to its end is held meanwhile; once that is gone, all is as before."""
    async with connected(gateway, request_[:-40_000]):
        await until(lambda: bodies.held_bytes > 100_000)
        async with connected(gateway, request_) as (reader, _):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert gateway.rejected == {"bodies_limit": 1}
        assert bodies.full
        async with connected(gateway, invoke(body_of(1))) as (reader, _):
            assert await status(reader) == 200  # a small one is no matter
    await until(lambda: not bodies.held_bytes and not bodies.full)
    async with connected(gateway, request_) as (reader, _):
        assert await status(reader) == 200


@pytest.mark.parametrize("lines", [(), ("Connection: close",)])
@pytest.mark.parametrize("cut", [-len(BODY), -40_000])
async def test_who_still_sends_gets_the_refusal(
    gateway: Gateway, bodies: HeldBodies, lines: tuple[str, ...], cut: int
) -> None:
    """What comes after it is read and dropped: no reset takes the answer away."""
    bodies.limit = 0
    async with calling(gateway.connections.protocol) as caller:
        request = invoke(BODY, *lines)
        caller.feed(request[:cut])
        caller.feed(b"x")
        assert [status for status, _ in await caller.answers()] == [503]
        assert caller.send(request[cut + 1 :])
        await caller.settle()
        assert not caller.transport.is_closing()


@KINDS
async def test_a_body_is_held_as_long_as_its_call(gateway: Gateway, bodies: HeldBodies, request_: bytes) -> None:
    """Whether it came in pieces or whole; not any longer."""
    gateway.script = gate = Gate()
    async with connected(gateway, request_) as (reader, _):
        await until(lambda: gateway.upstream.posts)
        assert bodies.held_bytes >= len(BODY)
        gate.opened.set()
        assert await status(reader) == 200
        await until(lambda: not bodies.held_bytes)
    assert gateway.rejected == {}


async def test_a_body_that_comes_whole(gateway: Gateway, bodies: HeldBodies) -> None:
    """In one piece with its head, as it may on a fast connection."""
    gateway.script = gate = Gate()
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(PLAIN)
        await until(lambda: gateway.upstream.posts)
        assert bodies.held_bytes == len(BODY) > SMALL_BYTES
        async with calling(gateway.connections.protocol) as another:
            another.feed(PLAIN)
            assert [status for status, _ in await another.answers()] == [503]
        gate.opened.set()
        assert [status for status, _ in await caller.answers()] == [200]
    assert bodies.held_bytes == 0


@pytest.mark.parametrize("lines", [(), ("Content-Encoding: identity",)])
async def test_an_answer_that_is_not_read_is_held(gateway: Gateway, bodies: HeldBodies, lines: tuple[str, ...]) -> None:
    """Until its caller takes it, or leaves."""
    gateway.script = large
    for leaves in (False, True):
        async with calling(gateway.connections.protocol) as caller:
            caller.feed(invoke(body_of(1), *lines))
            await until(lambda: bodies.held_bytes > 1_000_000)
            async with calling(gateway.connections.protocol) as another:
                another.feed(PLAIN)
                assert [status for status, _ in await another.answers()] == [503]
            if leaves:
                caller.leave()
            else:
                await taken(caller)
            await until(lambda: not bodies.held_bytes)


@KINDS
async def test_a_caller_that_leaves_gives_back_what_it_had(
    gateway: Gateway, bodies: HeldBodies, request_: bytes
) -> None:
    """In mid-body and in mid-call."""
    gateway.script = Gate()
    for data in (request_[:-1], request_):
        async with connected(gateway, data) as (_, writer):
            await until(lambda: bodies.held_bytes > 140_000)
            writer.transport.abort()
            await until(lambda: not bodies.held_bytes)


async def test_each_of_many_requests_gives_back_what_it_had(gateway: Gateway, bodies: HeldBodies) -> None:
    """On one connection, one after the other and sent ahead."""
    value = "x" * 70_000
    async with connected(gateway, invoke(body_of(value)) * 9 + invoke(body_of(value), "Connection: close")) as (
        reader,
        _,
    ):
        answers = split_answers(await asyncio.wait_for(reader.read(), 60))
    assert answers == [answered(value)] * 10
    assert bodies.held_bytes == 0
