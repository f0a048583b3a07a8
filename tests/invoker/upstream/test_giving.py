"""What comes of a stream is given on at once: who waits for it is woken only for what can't be told so."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from invoker.upstream.exchange import WireExchange
from invoker.upstream.pool import PooledUpstream
from invoker.upstream.port import UpstreamError
from shared.clock import SystemClock
from tests.invoker.conftest import until
from tests.invoker.front.hostile import Connection, serving
from tests.invoker.upstream.test_exchange import END, PACKED, STREAM, Script, chunk, used_again


@pytest.fixture
async def upstream() -> AsyncIterator[PooledUpstream]:
    made = PooledUpstream(SystemClock(), 8 * 1024 * 1024)
    yield made
    await made.close()


class Receiver:
    """`given`: pieces that came at once, `chunks`: those that were waited for. `take`: what it makes of the former."""

    def __init__(self, exchange: WireExchange, take: Callable[[bytes], bool] = lambda _piece: True) -> None:
        self.given: list[bytes] = []
        self.chunks: list[bytes] = []
        self.take = take
        exchange.give(self._put)
        self.task = asyncio.create_task(self._wait(exchange))

    def _put(self, piece: bytes) -> bool:
        self.given.append(piece)
        return self.take(piece)

    async def _wait(self, exchange: WireExchange) -> None:
        async for piece in exchange.chunks():
            self.chunks.append(piece)


async def test_pieces_are_given_and_nobody_is_woken(upstream: PooledUpstream) -> None:
    """But for the end, behind which the connection is for others."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM)
        receiver = Receiver(await upstream.open(server.url, b"{}"))
        for _ in range(5):
            before = len(receiver.given)
            script.send(chunk(b"%d" % before))
            await until(lambda: len(receiver.given) > before)  # noqa: B023  # waited for here
            assert receiver.chunks == []
        script.send(END, b"")
        await receiver.task
        assert (receiver.given, receiver.chunks) == ([b"0", b"1", b"2", b"3", b"4"], [b""])
        assert await used_again(upstream, server)


async def test_what_comes_together_is_given_together(upstream: PooledUpstream) -> None:
    """In one piece, however it was cut by its sender."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM)
        receiver = Receiver(await upstream.open(server.url, b"{}"))
        script.send(chunk(b"one") + chunk(b"two") + chunk(b"three"), END, b"")
        await receiver.task
        assert receiver.given == [b"onetwothree"]


async def test_who_can_take_no_more_is_woken(upstream: PooledUpstream) -> None:
    """What comes until it waits again comes as chunks, in its order; all is there once."""
    script = Script()
    async with serving(script) as server:
        script.send(STREAM)
        exchange = await upstream.open(server.url, b"{}")

        def take(piece: bytes) -> bool:
            if piece == b"full":
                asyncio.get_running_loop().call_soon(exchange.feed, b"more")  # before who waits has its turn
            return piece != b"full"

        receiver = Receiver(exchange, take)
        for number in (1, 2):
            script.send(chunk(b"full"))
            await until(lambda: receiver.chunks == [b"more"] * number)  # noqa: B023  # waited for here
        script.send(chunk(b"three"), END, b"")
        await receiver.task
        assert (receiver.given, receiver.chunks) == ([b"full", b"full", b"three"], [b"more", b"more", b""])


async def test_an_error_is_that_of_who_waits(upstream: PooledUpstream) -> None:
    """And the upstream is let go of."""
    script = Script()

    def fail(_piece: bytes) -> bool:
        raise ZeroDivisionError

    async with serving(script) as server:
        script.send(STREAM)
        exchange = await upstream.open(server.url, b"{}")
        receiver = Receiver(exchange, fail)
        script.send(chunk(b"one"), chunk(b"two"))
        with pytest.raises(ZeroDivisionError):
            await receiver.task
        assert exchange.ended


async def test_a_stream_that_breaks_off_says_so(upstream: PooledUpstream) -> None:
    """To who waits, behind what was given."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(STREAM + chunk(b"one"))

    async with serving(script) as server:
        receiver = Receiver(await upstream.open(server.url, b"{}"))
        with pytest.raises(UpstreamError, match="broke off"):
            await receiver.task
        assert b"".join(receiver.given + receiver.chunks) == b"one"


async def test_what_is_packed_is_not_given(upstream: PooledUpstream) -> None:
    """It has to be unpacked first."""
    script = Script()
    async with serving(script) as server:
        script.send(PACKED % b"deflate")
        receiver = Receiver(await upstream.open(server.url, b"{}"))
        script.send(chunk(zlib.compress(b"one")), END, b"")
        await receiver.task
        assert (receiver.given, b"".join(receiver.chunks)) == ([], b"one")
