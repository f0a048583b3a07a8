"""Streams through the gateway, by both of its servers."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator

import pytest

from invoker.call.ending import Ending
from invoker.http.pieces import Pieces
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started, unchunk, until
from tests.invoker.fakes import Answer, FakeExchange

BODY = b'{"model": "m", "stream": true}'
EVENTS = {b"content-type": b"text/event-stream; charset=utf-8", b"x-kept": b"1"}
TEXT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message": "no"}}\n\n'
SERVERS = pytest.mark.parametrize("more", [b"", b"Origin: http://page.test\r\n"], ids=["plain", "not plain"])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    url = "http://openai.test/v1"
    known = Models(
        {
            "m": Model(single(url), 60.0),
            "hurried": Model(single(url), 60.0, idle_s=0.05),
            "patient": Model(single(url), 60.0, idle_s=60.0),
        },
        None,
    )
    async with started(Gateway(Models({}, None, dialects={"openai": known, "anthropic": known}))) as one:
        yield one


async def ask(
    gateway: Gateway, more: bytes, path: bytes = b"/v1/chat/completions", body: bytes = BODY
) -> tuple[bytes, bytes]:
    """Head and body of the answer, as they came until the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = b"POST %b HTTP/1.1\r\nHost: g\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n"
    writer.write(head % (path, more, len(body)) + body)
    try:
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    begin, _, rest = answer.partition(b"\r\n\r\n")
    return begin, rest


def answering(gateway: Gateway, *pieces: bytes, **more: bytes) -> None:
    async def script(_body: bytes) -> Answer:
        return 200, Pieces(pieces), {**EVENTS, **{name.replace("_", "-").encode(): said for name, said in more.items()}}

    gateway.script = script


@SERVERS
async def test_a_stream_goes_through(gateway: Gateway, more: bytes) -> None:
    """Each piece as it came, with its head; and it is one success of all its bytes."""
    answering(gateway, TEXT, TEXT[:9], TEXT[9:], DONE)
    head, body = await ask(gateway, more)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.lower().count(b"content-type: text/event-stream; charset=utf-8") == head.count(b"x-kept: 1") == 1
    assert unchunk(body) == TEXT + TEXT + DONE
    (record,) = gateway.journal.records
    assert (record.error_type, record.output_size) == (None, len(TEXT + TEXT + DONE))
    assert gateway.invoker.in_flight.total == 0


@pytest.mark.parametrize(("asked", "came"), [(True, False), (False, True), (False, False)])
async def test_a_stream_is_recorded_as_one_if_it_was_asked_for_or_came(
    gateway: Gateway, asked: bool, came: bool
) -> None:
    """The upstream has the last word on what it sends."""
    answering(gateway, DONE, **({} if came else {"content_type": b"application/json"}))
    await ask(gateway, b"", body=BODY if asked else b'{"model": "m", "stream": null}')
    assert [record.streamed for record in gateway.journal.records] == [asked or came]


@SERVERS
async def test_it_is_recorded_before_its_end(gateway: Gateway, more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a caller takes for the end is not sent before the record is there; all else is."""
    known: list[bytes] = []
    go_on = asyncio.Event()

    async def durable() -> None:
        await go_on.wait()

    monkeypatch.setattr(gateway.invoker, "_durable", durable)
    answering(gateway, TEXT, DONE)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(BODY), BODY)
    )
    known.append(await asyncio.wait_for(reader.readuntil(TEXT), 10))
    await until(lambda: gateway.journal.records)
    assert b"DONE" not in known[0]
    go_on.set()
    assert (await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)).count(DONE) == 1
    writer.close()


@SERVERS
async def test_a_stream_that_breaks_off(gateway: Gateway, more: bytes) -> None:
    """Its caller gets an error event, and no end of the body; the record says it with what was delivered."""
    answering(gateway, TEXT, TEXT[:9], breaks_off=b"1")
    _, body = await ask(gateway, more)
    assert not body.endswith(b"0\r\n\r\n")
    events = unchunk(body + b"0\r\n\r\n")
    assert events.startswith(TEXT + b"event: error\ndata: ")
    assert json.loads(events.removeprefix(TEXT).partition(b"data: ")[2])["error"]["message"] == "it broke off"
    (record,) = gateway.journal.records
    assert (record.error_type, record.output_size) == (ErrorType.INVALID_RESPONSE, len(TEXT) + 9)


@SERVERS
async def test_a_stream_that_ends_too_early(gateway: Gateway, more: bytes) -> None:
    """A clean end without an end of the answer is likewise none."""
    answering(gateway, TEXT)
    _, body = await ask(gateway, more, b"/v1/messages")
    assert not body.endswith(b"0\r\n\r\n")
    assert b'"type":"error"' in body
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.INVALID_RESPONSE]


@SERVERS
@pytest.mark.parametrize("first", [b"", TEXT])
async def test_an_error_event_of_the_upstream(gateway: Gateway, more: bytes, first: bytes) -> None:
    """It goes through as it is, and is recorded as the failure that it is."""
    answering(gateway, first, ERROR)
    _, body = await ask(gateway, more)
    assert (unchunk(body) if first else body) == first + ERROR
    (record,) = gateway.journal.records
    assert record.error_type is ErrorType.INVALID_RESPONSE
    assert '"no"' in record.error_log


@SERVERS
async def test_what_fails_before_it_begins_has_a_status(gateway: Gateway, more: bytes) -> None:
    """Nothing was sent, so a whole answer of the dialect can be."""
    answering(gateway, breaks_off=b"1")
    head, body = await ask(gateway, more)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert json.loads(body)["error"]["message"] == "it broke off"
    assert len(gateway.journal.records) == 1


@SERVERS
@pytest.mark.parametrize("gone", [False, True], ids=["drained", "caller gone"])
async def test_a_stream_that_is_ended_here(
    gateway: Gateway, more: bytes, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record that says who ended it; the upstream is let go of."""
    left: list[bool] = []

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        try:
            while True:
                yield TEXT
                await asyncio.sleep(0.01)
        finally:
            left.append(True)

    monkeypatch.setattr(FakeExchange, "chunks", chunks)
    answering(gateway, b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(BODY), BODY)
    )
    await asyncio.wait_for(reader.readuntil(TEXT), 10)
    if gone:
        writer.transport.abort()
    else:
        gateway.invoker.flights.end_all(Ending.DRAIN)
        assert b"event: error\n" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
    await until(lambda: gateway.journal.records)
    (record,) = gateway.journal.records
    assert record.error_type is (ErrorType.CLIENT_DISCONNECTED if gone else ErrorType.DRAINING)
    assert record.output_size % len(TEXT) == 0 < record.output_size
    assert left == [True]
    assert not gateway.journal.open


@SERVERS
@pytest.mark.parametrize("first", [b"", TEXT])
async def test_a_stream_that_stands_still(
    gateway: Gateway, more: bytes, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than its model may: ended, told, and recorded as a timeout; the upstream is let go of."""
    left: list[bool] = []

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        try:
            if first:
                yield first
            await asyncio.Event().wait()
        finally:
            left.append(True)

    monkeypatch.setattr(FakeExchange, "chunks", chunks)
    answering(gateway, b"")
    head, body = await ask(gateway, more, body=BODY.replace(b'"m"', b'"hurried"'))
    assert head.startswith(b"HTTP/1.1 200 " if first else b"HTTP/1.1 504 ")
    assert b"upstream's stream stood still for 0.05 s" in body
    assert not body.endswith(b"0\r\n\r\n")
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.TIMEOUT]
    assert left == [True]


@SERVERS
async def test_a_slow_stream_is_waited_for(gateway: Gateway, more: bytes) -> None:
    """As long as each piece comes in time."""
    answering(gateway, TEXT, TEXT, DONE)
    _, body = await ask(gateway, more, body=BODY.replace(b'"m"', b'"patient"'))
    assert unchunk(body) == TEXT + TEXT + DONE
    assert [record.error_type for record in gateway.journal.records] == [None]


STREAMING = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n%bContent-Length: %d\r\n\r\n%b"


class Silent:
    """An upstream's stream that says nothing after its first event until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        self.left = False
        monkeypatch.setattr(FakeExchange, "chunks", lambda _exchange: self.chunks())

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            yield TEXT
            await self.go_on.wait()
            yield TEXT
            yield DONE
        finally:
            self.left = True


@SERVERS
@pytest.mark.parametrize("half", [False, True], ids=["left", "left after its side"])
async def test_a_caller_that_leaves_while_the_upstream_is_silent(
    gateway: Gateway, more: bytes, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes its socket, no more: the upstream is let go of, though nothing is sent that its caller could refuse."""
    silent = Silent(monkeypatch)
    answering(gateway, b"")
    loop = asyncio.get_running_loop()
    with socket.socket() as caller:
        caller.setblocking(False)
        await loop.sock_connect(caller, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(caller, STREAMING % (more, len(BODY), BODY))
        received = b""
        while TEXT not in received:
            received += await asyncio.wait_for(loop.sock_recv(caller, 65_536), 10)
        if half:
            caller.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(loop.sock_recv(caller, 1), 10) in (b"0", b"\r")
    await until(lambda: gateway.journal.records)
    await until(lambda: gateway.connections.count == 0)
    (record,) = gateway.journal.records
    assert (record.error_type, record.output_size) == (ErrorType.CLIENT_DISCONNECTED, len(TEXT))
    assert silent.left
    assert not silent.go_on.is_set()
    assert gateway.invoker.in_flight.total == 0


@SERVERS
@pytest.mark.parametrize("begun", [False, True], ids=["before", "in the middle"])
async def test_a_caller_that_closes_its_side_gets_all_of_a_stream(
    gateway: Gateway, more: bytes, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it waits: what is sent ahead to find out whether it is there is part of what would come anyway."""
    silent = Silent(monkeypatch)
    answering(gateway, b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(STREAMING % (more, len(BODY), BODY))
    received = b""
    if begun:
        received = await asyncio.wait_for(reader.readuntil(TEXT + b"\r\n"), 10)
    writer.write_eof()
    received += await asyncio.wait_for(reader.readuntil(b"00"), 10)
    silent.go_on.set()
    received += await asyncio.wait_for(reader.read(), 10)
    writer.close()
    _, _, body = received.partition(b"\r\n\r\n")
    assert unchunk(body) == TEXT + TEXT + DONE
    assert body.endswith(b"0\r\n\r\n")
    assert [record.error_type for record in gateway.journal.records] == [None]
    await until(lambda: gateway.connections.count == 0)


async def test_a_stream_and_what_was_asked_behind_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that closes its side has asked for two: nothing is sent ahead between the end of one and the other."""
    silent = Silent(monkeypatch)
    answering(gateway, b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(2 * (STREAMING % (b"", len(BODY), BODY)))
    writer.write_eof()
    received = await asyncio.wait_for(reader.readuntil(TEXT), 10)
    silent.go_on.set()
    received += await asyncio.wait_for(reader.read(), 10)
    writer.close()
    _, _, body = received.partition(b"\r\n\r\n")
    assert re.search(rb"\r\n0+\r\n\r\nHTTP/1\.1 200 OK\r\n", body) is not None
    assert len(gateway.journal.records) == 2


SOUND = [bytes(range(256)), b"ID3" * 1000, b"data: {}\n\n"]


@SERVERS
async def test_sound_goes_through_as_it_comes(gateway: Gateway, more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece when it is there, whatever is in it; recorded before the end of the body is sent."""
    go_on = asyncio.Event()

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        yield SOUND[0]
        await go_on.wait()
        for piece in SOUND[1:]:
            yield piece

    monkeypatch.setattr(FakeExchange, "chunks", chunks)
    answering(gateway, b"", content_type=b"audio/mpeg")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(STREAMING % (more, len(BODY), BODY))
    received = await asyncio.wait_for(reader.readuntil(SOUND[0]), 10)
    assert gateway.journal.records == []
    go_on.set()
    received += await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 10)
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: audio/mpeg\r\n" in head.lower()
    assert unchunk(body) == b"".join(SOUND)
    (record,) = gateway.journal.records
    assert (record.error_type, record.output_size, record.streamed) == (None, sum(map(len, SOUND)), True)
    assert record.time_to_first_token_us == 0


@SERVERS
async def test_sound_that_breaks_off(gateway: Gateway, more: bytes) -> None:
    """Has no end, and nothing of ours in it."""
    answering(gateway, SOUND[0], content_type=b"Audio/wav", breaks_off=b"1")
    _, body = await ask(gateway, more)
    assert not body.endswith(b"0\r\n\r\n")
    assert unchunk(body + b"0\r\n\r\n") == SOUND[0]
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.INVALID_RESPONSE]


@SERVERS
async def test_sound_that_fails_before_it_begins(gateway: Gateway, more: bytes) -> None:
    """Nothing was sent, so that it can be said."""
    answering(gateway, content_type=b"audio/wav", breaks_off=b"1")
    head, body = await ask(gateway, more)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body)["error"]["message"] == "it broke off"


@SERVERS
async def test_sound_that_is_whole_keeps_its_length(gateway: Gateway, more: bytes) -> None:
    """As its upstream has stated it."""
    answering(gateway, *SOUND, content_type=b"audio/wav", content_length=b"%d" % sum(map(len, SOUND)))
    head, body = await ask(gateway, more)
    assert b"content-length: %d" % len(body) in head.lower()
    assert body == b"".join(SOUND)
