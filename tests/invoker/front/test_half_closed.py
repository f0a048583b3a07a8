"""A caller that has closed its side waits for its answer; one that is gone does not. On both of our servers."""

import asyncio
import socket
import struct

import pytest

from shared.record import ErrorType
from tests.invoker.conftest import Gateway, until
from tests.invoker.fakes import Gate
from tests.invoker.front.callers import answered, body_of, echo, invoke, split_answers

BODY = body_of(1)
PLAIN = invoke(BODY)
CHUNKED = PLAIN.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked").replace(
    BODY, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
)
OLD = PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTHY = (200, b'{"status":"ok"}')
RESET = struct.pack("ii", 1, 0)


async def half_closed(gateway: Gateway, data: bytes, gate: Gate | None = None) -> bytes:
    """All that comes after these bytes and the end of our side; the gateway closes the other. The gate is opened once
    the gateway has found out twice that we are there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data)
    writer.write_eof()
    begin = b""
    if gate is not None:
        begin = await asyncio.wait_for(reader.readexactly(2), 30)
        gate.opened.set()
    received = begin + await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return received


@pytest.mark.parametrize("request_", [PLAIN, CHUNKED, OLD])
@pytest.mark.parametrize("waits", [False, True])
async def test_it_is_answered(gateway: Gateway, request_: bytes, waits: bool) -> None:
    """Whether its call takes a moment, in which a caller might be gone, or none; byte for byte as any other."""
    gate = Gate((200, b'{"worklet_output": 1}', {}))
    gateway.script = gate
    if not waits:
        gate.opened.set()
    assert split_answers(await half_closed(gateway, request_, gate if waits else None)) == [answered(1)]
    assert [record.error_type for record in gateway.journal.records] == [None]
    await until(lambda: gateway.connections.count == 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PLAIN * 3, [answered(1)] * 3),
        (PLAIN + HEALTH + PLAIN + CHUNKED, [answered(1), HEALTHY, answered(1), answered(1)]),
        (HEALTH * 3, [HEALTHY] * 3),
        (b"", []),
    ],
)
async def test_all_that_it_has_sent_is_answered(gateway: Gateway, data: bytes, expected: object) -> None:
    """In order, on one connection."""
    gateway.script = echo
    assert split_answers(await half_closed(gateway, data)) == expected


@pytest.mark.parametrize(
    "data",
    [PLAIN[:20], PLAIN[:-1], CHUNKED[:-1], CHUNKED[:-9], OLD[:-1], HEALTH[:-1], HEALTH + HEALTH[:9], PLAIN + b"P"],
)
async def test_what_is_not_whole_is_told_so(gateway: Gateway, data: bytes) -> None:
    """400, after the answers to all that is whole; counted."""
    gateway.script = echo
    *others, (status, body) = split_answers(await half_closed(gateway, data))
    assert status == 400
    assert b"The connection's other side ended before the request did" in body
    assert gateway.rejected == {"incomplete_request": 1}
    assert others == ([HEALTHY] if data.startswith(HEALTH) else [answered(1)] if data.startswith(PLAIN) else [])


@pytest.mark.parametrize("request_", [PLAIN, CHUNKED, OLD, PLAIN + PLAIN, PLAIN + HEALTH])
@pytest.mark.parametrize("how", ["closed", "reset", "half, then closed", "half, then reset"])
async def test_one_that_is_gone_is_not_taken_for_it(gateway: Gateway, request_: bytes, how: str) -> None:
    """Its call ends within a second or so, and is recorded as what it is."""
    gateway.script = Gate()
    loop = asyncio.get_running_loop()
    with socket.socket() as caller:
        caller.setblocking(False)
        await loop.sock_connect(caller, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(caller, request_)
        await until(lambda: gateway.upstream.posts)
        if how.startswith("half"):
            caller.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(loop.sock_recv(caller, 1), 30) == b"H"
            assert gateway.journal.records == []
        if how.endswith("reset"):
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await until(lambda: gateway.journal.records)
    await until(lambda: gateway.connections.count == 0)
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.CLIENT_DISCONNECTED]
    assert gateway.invoker.in_flight.total == 0


async def test_a_kept_connection_that_is_closed_between_requests(gateway: Gateway) -> None:
    """It ends at once, on both servers, and nothing is counted."""
    gateway.script = echo
    for request, answers in ((PLAIN, [answered(1)]), (HEALTH, [HEALTHY])):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request)
        received = await reader.readuntil(b"}")
        writer.write_eof()
        assert split_answers(received + await asyncio.wait_for(reader.read(), 10)) == answers
        writer.close()
    await until(lambda: gateway.connections.count == 0)
    assert gateway.rejected == {}
