"""An answer as it comes: its head first, its body in pieces or whole, and an end that gives its connection back."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import brotli
import pytest

from invoker.upstream.exchange import MAX_UNREAD_BYTES
from invoker.upstream.pool import PooledUpstream
from invoker.upstream.port import UpstreamError
from shared.clock import SystemClock
from shared.record import ErrorType
from tests.invoker.conftest import until
from tests.invoker.fakes import post
from tests.invoker.front.hostile import Connection, HostileServer, http, serving, whole
from tests.invoker.upstream.test_connection import REQUEST, connection

GOOD = http(b"good")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[PooledUpstream]:
    made = PooledUpstream(SystemClock(), 8 * 1024 * 1024)
    yield made
    await made.close()


class Script:
    """A server that sends what it is told to, when it is; then the same connection answers `GOOD`."""

    def __init__(self) -> None:
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = 0

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._parts.put_nowait(part)

    async def __call__(self, connection: Connection) -> None:
        await connection.request()
        while part := await self._parts.get():
            await connection.send(part)
            self.sent += len(part)
        while True:
            await connection.request()
            await connection.send(GOOD)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def used_again(upstream: PooledUpstream, server: HostileServer) -> bool:
    """Whether the next call goes over the same connection."""
    accepted = server.accepted
    assert whole((await post(upstream, server.url, b"{}"))[1]) == b"good"
    return server.accepted == accepted


@pytest.mark.parametrize("framed", [True, False])
async def test_the_head_is_known_before_the_body(upstream: PooledUpstream, framed: bool) -> None:
    """Each piece is there when it has come; after the last, the connection is for others."""
    script = Script()
    pieces = [b"one", b"two", b"three"]
    sent = [chunk(piece) for piece in pieces] if framed else pieces
    async with serving(script) as server:
        script.send(STREAM if framed else b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
        exchange = await upstream.open(server.url, b"{}")
        assert exchange.status == 200
        found = []
        script.send(sent[0])
        async for piece in exchange.chunks():
            found.append(piece)
            if len(found) < len(pieces):
                script.send(sent[len(found)])
            else:
                script.send(*([END] if framed else []), b"")
        assert found == pieces
        assert await used_again(upstream, server)


@pytest.mark.parametrize("framed", [True, False])
async def test_who_takes_it_slowly_has_the_upstream_wait(upstream: PooledUpstream, framed: bool) -> None:
    """No more than a bound is kept, and in the end all of it has come."""
    script = Script()
    part, count = b"x" * 65_536, 100
    async with serving(script) as server:
        script.send(STREAM if framed else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * len(part)))
        exchange = await upstream.open(server.url, b"{}")
        script.send(*[chunk(part) if framed else part] * count, *([END] if framed else []), b"")
        await until(lambda: exchange._unread_bytes > MAX_UNREAD_BYTES)
        for _ in range(100):
            await asyncio.sleep(0)
        assert exchange._unread_bytes < 2 * MAX_UNREAD_BYTES
        assert sum([len(piece) async for piece in exchange.chunks()]) == count * len(part)
        assert await used_again(upstream, server)


async def test_a_whole_body_is_not_waited_with(upstream: PooledUpstream) -> None:
    """However large it is, also if it has been until now."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM)
        exchange = await upstream.open(server.url, b"{}")
        script.send(*[chunk(b"x" * 65_536)] * 50, END, b"")
        await until(lambda: exchange._unread_bytes > MAX_UNREAD_BYTES)
        assert len(await exchange.whole()) == 50 * 65_536
        assert await used_again(upstream, server)


PACKED = STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %b\r\n\r\n")
CODINGS = {b"gzip": 31, b"GZIP": 31, b"x-gzip": 31, b"deflate": 15, b"deflate ": -15}


@pytest.mark.parametrize("coding", CODINGS)
async def test_pieces_have_no_coding(upstream: PooledUpstream, coding: bytes) -> None:
    """Each is unpacked when it has come, wherever it is cut."""
    script = Script()
    packing = zlib.compressobj(wbits=CODINGS[coding])
    async with serving(script) as server:
        script.send(PACKED % coding)
        exchange = await upstream.open(server.url, b"{}")
        chunks = exchange.chunks()
        for number in range(3):
            plain = b"data: %d\n\n" % number
            packed = packing.compress(plain) + packing.flush(zlib.Z_SYNC_FLUSH)
            script.send(*[chunk(packed[place : place + 1]) for place in range(len(packed))])
            received = b""
            while received != plain:
                received += await anext(chunks)
                assert plain.startswith(received)
        script.send(chunk(packing.flush()), END, b"")
        assert [piece async for piece in chunks] == []
        assert await used_again(upstream, server)


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (gzip.compress(b"plain", mtime=0)[:-1], "its gzip breaks off"),
        (b"", "its gzip breaks off"),
        (gzip.compress(b"plain", mtime=0)[:-8] + bytes(8), "it is not gzip to its end"),
        (gzip.compress(b"plain", mtime=0) + b"xy", "it is not gzip to its end"),
        (gzip.compress(bytes(9 * 1024 * 1024), mtime=0), "it is larger than 8388608 bytes"),
    ],
)
async def test_pieces_in_a_broken_coding(upstream: PooledUpstream, packed: bytes, said: str) -> None:
    """Or that unpack to more than is allowed: what has come is given, and then the error; the connection is closed."""
    script = Script()
    async with serving(script) as server:
        script.send(PACKED % b"gzip", *([chunk(packed)] if packed else []), END, b"")
        exchange = await upstream.open(server.url, b"{}")
        with pytest.raises(UpstreamError, match=said) as failure:
            await taken(exchange.chunks())
        assert failure.value.error_type is ErrorType.INVALID_RESPONSE


@pytest.mark.parametrize("coding", [b"zstd", b"br", b"gzip, gzip", b"x"])
async def test_pieces_in_a_coding_that_is_not_undone(upstream: PooledUpstream, coding: bytes) -> None:
    """It wasn't asked for. The connection is closed, and not only when all of it has come."""
    script = Script()
    async with serving(script) as server:
        script.send(PACKED % coding)
        exchange = await upstream.open(server.url, b"{}")
        with pytest.raises(UpstreamError, match="wasn't asked for") as failure:
            await taken(exchange.chunks())
        assert failure.value.error_type is ErrorType.INVALID_RESPONSE
        script.send(b"")
        await asyncio.wait_for(server.all_closed.wait(), 10)


async def test_a_whole_body_has_no_coding(upstream: PooledUpstream) -> None:
    """As a stream has none."""
    for packed, coding in ((gzip.compress(b"plain"), "gzip"), (brotli.compress(b"plain"), "br")):
        script = Script()
        async with serving(script) as server:
            script.send(http(packed, f"Content-Encoding: {coding}"), b"")
            exchange = await upstream.open(server.url, b"{}")
            assert await exchange.whole() == b"plain"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("status", "error_type"), [(b"200", "invalid_response"), (b"500", "upstream_status")])
async def test_a_body_that_breaks_off(upstream: PooledUpstream, streamed: bool, status: bytes, error_type: str) -> None:
    """What had come is given, and then the error, whose type goes by the status."""

    async def break_off(connection: Connection) -> None:
        await connection.request()
        await connection.send(STREAM.replace(b"200", status) + chunk(b"one"))

    async with serving(break_off) as server:
        exchange = await upstream.open(server.url, b"{}")
        if streamed:
            chunks = exchange.chunks()
            assert await anext(chunks) == b"one"
        rest = anext(chunks) if streamed else exchange.whole()
        with pytest.raises(UpstreamError, match="broke off after 3 bytes, before its last chunk") as failure:
            await rest
        assert (failure.value.error_type, failure.value.received) == (ErrorType(error_type), True)


@pytest.mark.parametrize("how", ["aborted", "left", "cancelled", "cancelled whole"])
async def test_what_is_not_taken_to_its_end_closes_its_connection(upstream: PooledUpstream, how: str) -> None:
    """However that comes about."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM + chunk(b"one"))
        exchange = await upstream.open(server.url, b"{}")
        if how == "aborted":
            exchange.abort()
        elif how == "left":
            async with aclosing(exchange.chunks()) as chunks:
                assert await anext(chunks) == b"one"
        else:
            task = asyncio.ensure_future(exchange.whole() if how.endswith("whole") else taken(exchange.chunks()))
            await until(lambda: exchange._waiter)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        script.send(b"")  # it looks for a further request then, and finds the end
        await asyncio.wait_for(server.all_closed.wait(), 10)


async def taken(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in chunks])


async def test_an_abort_at_the_end_hurts_nobody() -> None:
    """The connection may have another exchange by then."""
    async with connection() as made:
        first = made.exchange(REQUEST, b"")
        made.data_received(GOOD)
        second = made.exchange(REQUEST, b"")
        first.abort()
        made.data_received(GOOD)
        assert (await taken(first.chunks()), await second.whole()) == (b"good", b"good")
        assert made.reusable
