"""Answers that are given bit by bit, by both of our servers: each piece at once, at the caller's pace, to a clear
end."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from invoker.front.answering import Sink
from invoker.front.listener import STALLED_S
from invoker.http.heads import RequestHead
from invoker.http.pieces import Body, Pieces
from tests.invoker.conftest import Gateway, unchunk, until
from tests.invoker.front.callers import body_of, calling, invoke
from tests.invoker.front.test_half_closed import CHUNKED, OLD
from tests.invoker.front.test_listener import pass_time

PLAIN = invoke(body_of(1))
BOTH = pytest.mark.parametrize("request_", [PLAIN, CHUNKED])
Give = Callable[[Sink], Awaitable[None]]


class Caller:
    """On a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def sending(cls, gateway: Gateway, data: bytes) -> "Caller":
        caller = cls(*await asyncio.open_connection("127.0.0.1", gateway.port, limit=2**26))
        caller.writer.write(data)
        return caller

    async def read(self, until: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(until), 30)

    async def read_all(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 30)


def giving(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, give: Give) -> None:
    """Each request is answered so."""

    async def answer(_head: RequestHead, _body: bytes, sink: Sink) -> None:
        await give(sink)

    monkeypatch.setattr(gateway.answering, "answer", answer)


@BOTH
async def test_a_piece_is_sent_at_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """Before the next one is there; what is empty is no piece. Then the connection is for the next request."""
    more = asyncio.Event()

    async def give(sink: Sink) -> None:
        sink.start(201, b"X-Kind: stream\r\n")
        await sink.write(b"")
        await sink.write(b"first")
        await more.wait()
        await sink.write(b"second")
        sink.end(b"last")

    giving(gateway, monkeypatch, give)
    caller = await Caller.sending(gateway, request_)
    for _ in range(2):
        more.clear()
        head = await caller.read(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 Created\r\n")
        assert b"\r\nX-Kind: stream\r\n" in head
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        assert b"content-length" not in head.lower()
        assert await caller.read(b"first\r\n") == b"5\r\nfirst\r\n"
        more.set()
        assert unchunk(await caller.read(b"0\r\n\r\n")) == b"secondlast"
        caller.writer.write(request_)
    caller.writer.close()


@BOTH
@pytest.mark.parametrize("rest", [b"", b"x", b"y" * 200_000, Pieces([b"a" * 70_000, b"", b"b"])])
@pytest.mark.parametrize("begun", [False, True])
async def test_how_it_ends(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request_: bytes, rest: Body, begun: bool
) -> None:
    """With whatever is left, also if that is all there is."""

    async def give(sink: Sink) -> None:
        sink.start(200, b"")
        if begun:
            await sink.write(b"begun")
        sink.end(rest)

    giving(gateway, monkeypatch, give)
    reply = await gateway.raw(request_.replace(b"Host: gateway", b"Host: gateway\r\nConnection: close"))
    expected = rest if isinstance(rest, bytes) else b"".join(rest)
    assert reply.body == (b"begun" + expected if begun else expected)
    assert reply.headers.get("Content-Length") == (None if begun else str(len(expected)))
    assert reply.headers["Connection"] == "close"


async def test_a_caller_that_knows_no_chunks(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP/1.0: the end of the connection is the answer's."""

    async def give(sink: Sink) -> None:
        sink.start(200, b"")
        await sink.write(b"begun")
        sink.end(b"ended")

    giving(gateway, monkeypatch, give)
    caller = await Caller.sending(gateway, OLD)
    assert (await caller.read_all()).endswith(b"\r\n\r\nbegunended")
    caller.writer.close()


@BOTH
async def test_who_reads_slowly_is_waited_for(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """No more is made than fits into buffers; once that is read, the rest comes."""
    piece, count = b"x" * 100_000, 200
    written = 0

    async def give(sink: Sink) -> None:
        nonlocal written
        sink.start(200, b"")
        for _ in range(count):
            await sink.write(piece)
            written += 1
        sink.end(b"")

    giving(gateway, monkeypatch, give)
    caller = await Caller.sending(gateway, request_)
    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
    await until(lambda: written)
    before = -1
    while before != written:
        before = written
        await asyncio.sleep(0.05)
    assert 0 < written < count
    caller.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await caller.read(b"\r\n\r\n")
    assert len(unchunk(await caller.read(b"\r\n0\r\n\r\n"))) == count * len(piece)
    caller.writer.close()
    await until(lambda: not gateway.answering.bodies.held_bytes)


@BOTH
async def test_who_leaves_ends_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """Wherever its answer stands: it is cancelled, and nothing is left of the connection."""
    ended: list[type[BaseException]] = []

    async def give(sink: Sink) -> None:
        sink.start(200, b"")
        try:
            while True:
                await sink.write(b"x" * 10_000)
                await asyncio.sleep(0)
        except BaseException as error:
            ended.append(type(error))
            raise

    giving(gateway, monkeypatch, give)
    for count, reads in enumerate((True, False), 1):
        caller = await Caller.sending(gateway, request_)
        await caller.read(b"xxxx")
        if not reads:
            await asyncio.sleep(0.05)
        caller.writer.transport.abort()
        await until(lambda: gateway.connections.count == 0)
        await until(partial(lambda expected: len(ended) == expected, count))  # its task has its turn after that
    assert [issubclass(kind, asyncio.CancelledError | ConnectionError) for kind in ended] == [True, True]


@BOTH
async def test_one_that_fails_in_mid_way_is_broken_off(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """No other answer follows in it, and no end that would pass for its own."""

    async def give(sink: Sink) -> None:
        sink.start(200, b"")
        await sink.write(b"begun")
        await asyncio.sleep(0.01)
        sink.start(500, b"")
        sink.end(b"failed")

    giving(gateway, monkeypatch, give)
    caller = await Caller.sending(gateway, request_)
    received = b""
    try:
        while data := await asyncio.wait_for(caller.reader.read(65_536), 30):
            received += data
    except ConnectionError:
        pass
    assert received.endswith(b"5\r\nbegun\r\n")
    caller.writer.close()
    await until(lambda: gateway.connections.count == 0)


async def test_who_has_closed_its_side_gets_all_of_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it does so in mid-way: what is sent to see whether it is there is no part of the body."""
    more = asyncio.Event()

    async def give(sink: Sink) -> None:
        sink.start(200, b"")
        await sink.write(b"begun")
        await more.wait()
        sink.end(b"ended")

    giving(gateway, monkeypatch, give)
    caller = await Caller.sending(gateway, PLAIN)
    await caller.read(b"begun\r\n")
    caller.writer.write_eof()
    await until(lambda: all(connection._ended for connection in gateway.connections._open))
    await caller.read(b"0")
    more.set()
    assert unchunk(await caller.read_all()) == b"ended"
    caller.writer.close()


@pytest.mark.parametrize(("size", "count"), [(1, 1), (20_000_000, 0)])
async def test_who_reads_nothing_for_long_is_disconnected(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, size: int, count: int
) -> None:
    """But no one whose model takes its time."""

    async def give(sink: Sink) -> None:
        sink.start(200, b"")
        await sink.write(b"x" * size)
        await asyncio.Event().wait()

    giving(gateway, monkeypatch, give)
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(PLAIN)
        await caller.settle(read=False)
        pass_time(gateway, STALLED_S)
        assert gateway.connections.count == 1
        pass_time(gateway, 10 * STALLED_S)
        await caller.settle(read=False)
        assert gateway.connections.count == count


@BOTH
async def test_a_stream_is_broken_off(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """Its caller gets all that was sent, and no end."""

    async def give(sink: Sink) -> None:
        sink.start(200, b"", b"text/event-stream")
        await sink.write(b"first")
        assert sink.begun
        sink.break_off(b"x" * 100_000)

    giving(gateway, monkeypatch, give)
    caller = await Caller.sending(gateway, request_)
    head, _, body = (await caller.read_all()).partition(b"\r\n\r\n")
    assert b"Content-Type: text/event-stream\r\n" in head
    assert not body.endswith(b"0\r\n\r\n")
    assert unchunk(body + b"0\r\n\r\n") == b"first" + b"x" * 100_000
    caller.writer.close()
