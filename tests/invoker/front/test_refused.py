"""Requests for `/invoke` that are refused before they are invocations: in its shape, counted by reason, not logged."""

import asyncio
import gzip
import itertools
import logging
import zlib
from collections.abc import Callable

import brotli
import pytest

from tests.invoker.conftest import BODY_LIMIT, Gateway, until
from tests.invoker.front.callers import body_of, calling
from tests.malformed import CHUNKED, GET, HOST, MALFORMED

BODY = body_of(1)
POST = b"POST /invoke HTTP/1.1\r\n" + HOST
LENGTH = b"Content-Length: %d\r\n"
REASONS = {400: "invalid_request", 431: "header_too_large", 501: "unsupported_transfer_coding"}
EXPECT = b"Expect: 100-continue\r\n"


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> object:
    caplog.set_level(logging.DEBUG)
    yield
    assert [record for record in caplog.records if record.name != "asyncio"] == []


@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize(("data", "status"), [case for case in MALFORMED if case[1] != 414])
async def test_what_is_no_request(gateway: Gateway, method: bytes, data: bytes, status: int) -> None:
    """It is told in the shape of an answer, whatever its method, and counted."""
    data = data.replace(b"{target}", b"/invoke").replace(b"GET /invoke", method + b" /invoke")
    reply = await gateway.raw(data)
    assert (reply.status, reply.media_type) == (status, "application/json")
    answer = reply.json
    assert 0 < len(answer.pop("error_log")) < 160
    assert answer == {"worklet_output": None, "success": False, "latency_ms": 0.0}
    assert gateway.rejected == {REASONS[status]: 1}


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (GET.replace(b"{target}", b"/healthz") + b"\r\n", 400, "invalid_request"),
        (GET.replace(b"{target}", b"/nothing") + HOST + b"Connection: close\r\n\r\n", 404, "not_found"),
        (b"DELETE /healthz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
        (b"GET /invoke HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
    ],
)
async def test_other_paths_have_problems(gateway: Gateway, data: bytes, status: int, reason: str) -> None:
    """And are counted, too."""
    reply = await gateway.raw(data)
    assert (reply.status, reply.media_type) == (status, "application/problem+json")
    assert gateway.rejected == {reason: 1}


@pytest.mark.parametrize("lines", [b"", EXPECT, b"Content-Encoding: gzip\r\n" + EXPECT])
async def test_a_body_that_is_too_large_is_not_asked_for(gateway: Gateway, lines: bytes) -> None:
    """413 at once, though nothing of it has come: no `100 Continue` before."""
    reply = await gateway.raw(POST + lines + LENGTH % (BODY_LIMIT + 1) + b"\r\n")
    assert (reply.status, reply.headers["Connection"]) == (413, "close")
    assert gateway.rejected == {"body_too_large": 1}


@pytest.mark.parametrize(
    ("lines", "status"),
    [(b"Content-Type: text/plain\r\n", 415), (b"Content-Encoding: lzma\r\n", 415), (b"Expect: x\r\n", 417)],
)
async def test_a_body_that_is_refused_is_not_asked_for(gateway: Gateway, lines: bytes, status: int) -> None:
    """Nor for any other fault that its head shows."""
    expect = b"" if status == 417 else EXPECT
    reply = await gateway.raw(POST + lines + expect + LENGTH % 100 + b"\r\n")
    assert (reply.status, reply.headers["Connection"]) == (status, "close")


async def test_a_body_that_waits_to_be_asked_for(gateway: Gateway) -> None:
    """`100 Continue`, and then the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(POST + EXPECT + LENGTH % len(BODY) + b"\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert await asyncio.wait_for(reader.readuntil(b"\r\n"), 10) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", raw_deflate),
        ("br", brotli.compress),
        ("identity", bytes),
        ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    ],
)
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_a_compressed_body(
    gateway: Gateway, coding: str, pack: Callable[[bytes], bytes], in_chunks: bool
) -> None:
    """The upstream gets it unpacked; what is broken is told so, and what unpacks to more than the limit."""
    head = POST + b"Connection: close\r\nContent-Encoding: %b\r\n" % coding.encode()

    def sent(body: bytes) -> bytes:
        if in_chunks:
            return head + CHUNKED + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return head + LENGTH % len(body) + b"\r\n" + body

    assert (await gateway.raw(sent(pack(BODY)))).status == 200
    assert [body for _, body in gateway.upstream.posts] == [BODY]
    assert (await gateway.raw(sent(pack(bytes(BODY_LIMIT + 1))))).status == 413
    if coding != "identity":
        reply = await gateway.raw(sent(pack(BODY)[:-1]))
        assert reply.status == 400
        assert reply.json["error_log"].startswith("The body can't be unpacked: it")
        assert gateway.rejected == {"body_too_large": 1, "invalid_body": 1}


@pytest.mark.parametrize("lines", [b"Content-Encoding: lzma\r\n", b"Content-Encoding: gzip\r\nContent-Encoding: x\r\n"])
async def test_an_unknown_coding_is_415(gateway: Gateway, lines: bytes) -> None:
    """The answer says which are known (RFC 9110, 12.5.3)."""
    reply = await gateway.raw(POST + b"Connection: close\r\n" + lines + LENGTH % len(BODY) + b"\r\n" + BODY)
    assert (reply.status, reply.headers["Accept-Encoding"]) == (415, "gzip, deflate, zstd, br")
    assert (gateway.rejected, gateway.upstream.posts) == ({"unsupported_coding": 1}, [])


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize(
    "request_",
    [
        POST + LENGTH % 100 + b"\r\n{",
        POST + CHUNKED + b"\r\n5\r\nhel",
        POST + EXPECT + LENGTH % 100 + b"\r\n{",
        POST.replace(b"1.1", b"1.0") + LENGTH % 100 + b"\r\n{",
        POST + b"Content-Encoding: gzip\r\n" + LENGTH % 100 + b"\r\n{",
    ],
)
async def test_a_caller_that_leaves_in_mid_body(gateway: Gateway, request_: bytes, how: str) -> None:
    """It is counted once, whoever reads the body, and is no invocation."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_)
    await until(lambda: gateway.connections.count == 1)
    if how == "closes":
        writer.close()
    else:
        await until(
            lambda: (
                any(not connection.is_idle for connection in gateway.connections._open) or not gateway.connections._open
            )
        )
        writer.transport.abort()
    await until(lambda: gateway.rejected)
    await until(lambda: gateway.connections.count == 0)
    assert (gateway.rejected, gateway.journal.records) == ({"incomplete_request": 1}, [])


async def test_requests_sent_ahead_leave_others_their_turn(gateway: Gateway) -> None:
    """However many are refused at once, each takes a turn of the loop of its own."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write((POST + LENGTH % 1 + b"\r\n{") * 500)
    seen = [0]
    while seen[-1] < 500:
        seen.append(gateway.rejected.get("invalid_json", 0))
        await asyncio.sleep(0)
    writer.close()
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2


@pytest.mark.parametrize("with_body", [False, True])
async def test_requests_sent_ahead_may_be_cut_anywhere(gateway: Gateway, with_body: bool) -> None:
    """Each is read as it was sent, also if it began in one piece with the one before."""
    get = GET.replace(b"{target}", b"/nothing") + HOST + b"A: b\r\n\r\n"
    first = POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n" if with_body else get
    sent = first + get + get + (b"" if with_body else b"nonsense\r\n\r\n")
    for cut in range(1, len(sent)):
        async with calling(gateway.connections.other_server) as caller:
            caller.feed(sent[:cut], sent[cut:])
            statuses = [status for status, _ in await caller.answers()]
        assert (cut, statuses) == (cut, [422, 404, 404] if with_body else [404, 404, 404, 400])
