"""The gateway's own HTTP front: whatever comes, and however it is cut, it is read as aiohttp reads it."""

import itertools
import logging

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from invoker.http.heads import MAX_HEAD_BYTES
from tests.invoker.conftest import BODY_LIMIT, Gateway
from tests.invoker.front.callers import Received, answered, body_of, calling, echo, gateways, invoke

Answers = list[Received]
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
HEALTHY = (200, b'{"status":"ok"}')
PLAIN = invoke(body_of(1)) + invoke(body_of([2]), "traceparent: x", "X-Empty:") + invoke(body_of("3"))
CHUNKED = invoke(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"") + b"".join(
    b"%x\r\n%b\r\n" % (len(part), part) for part in (body_of(4)[:10], body_of(4)[10:], b"")
)
STREAM = PLAIN + CHUNKED + HEALTH + invoke(body_of(5)) + invoke(body_of(6), "Connection: close")
STREAM_ANSWERS = [*map(answered, (1, [2], "3", 4)), HEALTHY, *map(answered, (5, 6))]
WORDS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"\x7f",
        b"\xff",
        b"0",
        b"5",
        b"+",
        b"-",
        b"x",
        b"a" * 9000,
    ),
    *(b"Host: a\r\n", b"Content-Length: 5\r\n", b"Content-Length: 53\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"Connection: close\r\n",
        b"Connection: keep-alive, x\r\n",
        b"Expect: 100-continue\r\n",
        b"Content-Encoding: gzip\r\n",
    ),
    *(b"Content-Type: text/plain\r\n", b" folded\r\n", b"GET ", b"HTTP/1.0", b"HTTP/2.0", b"?a=b", b"http://x"),
]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiohttp.server")  # as `logs.configure` sets it


async def answers_to(gateway: Gateway, *pieces: bytes) -> Answers:
    async with calling(gateway.connections.protocol) as caller:
        caller.feed(*pieces)
        return await caller.answers()


async def test_wherever_a_stream_is_cut() -> None:
    """Requests sent ahead, of which the fourth is for aiohttp, are answered in their order whichever byte begins a
    piece."""
    async with gateways() as gateway:
        for place in range(1, len(STREAM)):
            assert await answers_to(gateway, STREAM[:place], STREAM[place:]) == STREAM_ANSWERS, place
        assert await answers_to(gateway, *(bytes([byte]) for byte in STREAM)) == STREAM_ANSWERS
        assert len(gateway.journal.records) == 6 * len(STREAM)


async def test_a_head_is_known_again_only_if_it_is_the_same(gateway: Gateway) -> None:
    """Heads of one length, of which the next is as the last but one."""
    gateway.script = echo
    requests = [invoke(body_of(1)), invoke(body_of(22)), invoke(body_of(3)).replace(b"/json", b"/nosj")]
    assert len({request.find(b"{") for request in requests}) == 1
    async with calling(gateway.connections.protocol) as caller:
        for order in ([0, 1, 0], [0, 2, 0], [2, 1, 2], [1, 1, 0]):
            caller.received = b""
            caller.feed(b"".join(requests[index] for index in order))
            statuses = [status for status, _ in await caller.answers()]
            assert statuses == [(200, 200, 415)[index] for index in order]


@settings(max_examples=40)
@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
def test_however_a_stream_is_cut(places: list[int]) -> None:
    """The same in many pieces."""
    cuts = [0, *sorted(places), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in itertools.pairwise(cuts) if begin < end]

    async def play() -> Answers:
        async with gateways() as gateway:
            return await answers_to(gateway, *pieces)

    assert uvloop.run(play()) == STREAM_ANSWERS


NO_REQUEST = b"The request can't be read"


async def readings(gateway: Gateway, data: bytes) -> tuple[Answers, list[Answers]]:
    """What our front answers, and what aiohttp alone, in one piece or byte by byte. Its text for a broken request
    depends on the pieces, so that is left out."""
    read = []
    for factory, pieces in (
        (gateway.connections.protocol, [data]),
        (gateway.connections.other_server, [data]),
        (gateway.connections.other_server, [bytes([byte]) for byte in data]),
    ):
        async with calling(factory) as caller:
            caller.feed(*pieces)
            answers = await caller.answers()
            read.append([(status, b"" if NO_REQUEST in body else body) for status, body in answers])
    return read[0], read[1:]


PADDED = invoke(body_of("x" * (BODY_LIMIT - 51)))


@pytest.mark.parametrize(
    "data",
    [
        STREAM,
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0", 1).replace(b"Host", b"Connection: keep-alive\r\nHost", 1),
        PLAIN.replace(b"POST", b"post", 1),
        PLAIN.replace(b"/invoke", b"/invoke?a=b", 1),
        PLAIN.replace(b"/invoke", b"http://elsewhere/invoke", 1),
        PLAIN.replace(b"Host: gateway\r\n", b"", 1),
        PLAIN.replace(b"Host: gateway", b"Host: gateway\r\nHost: gateway", 1),
        PLAIN.replace(b"Host: gateway", b"Host : gateway", 1),
        PLAIN.replace(b"Host: gateway", b" Host: gateway", 1),
        PLAIN.replace(b"Content-Length", b"CONTENT-LENGTH", 1),
        PLAIN.replace(b"Content-Length: ", b"Content-Length:\t000", 1),
        PLAIN.replace(b"Content-Length: ", b"Content-Length: +", 1),
        PLAIN.replace(b"Content-Length: 5", b"Content-Length: 5, 5", 1),
        PLAIN.replace(b"Content-Length:", b"Content-Length: 1\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"Transfer-Encoding: chunked\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"Transfer-Encoding: identity\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"Content-Encoding: gzip\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"Expect: 100-continue\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"X: \0\r\nContent-Length:", 1),
        PLAIN.replace(b"Content-Length:", b"X: a\rb\r\nContent-Length:", 1),
        PLAIN.replace(b"application/json", b"text/plain; \xff", 1),
        PLAIN.replace(b"\r\n", b"\n"),
        PLAIN.replace(b"\r\n", b"\r"),
        b"POST /invoke HTTP/1.1\nHost: x\nContent-Length: 0\n\n" + HEALTH,
        b"\r\n\r\n" + PLAIN,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz\r\n\r\n",
        PADDED + HEALTH,
        invoke(PADDED) + HEALTH,
        invoke(b"{"),
        invoke(body_of(1), "Connection: close") + HEALTH,
        invoke(body_of(1), "Connection: Close") + HEALTH,
    ],
)
async def test_it_reads_as_aiohttp_does(data: bytes) -> None:
    """The same bytes have the same answers, good requests and broken ones."""
    async with gateways() as gateway:
        ours, aiohttps = await readings(gateway, data)
        assert ours in aiohttps
        assert ours != []


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 110), st.integers(0, 2), st.sampled_from(WORDS)), min_size=1, max_size=3))
def test_no_two_readings_of_a_head(changes: list[tuple[int, int, bytes]]) -> None:
    """However a request is damaged, where it ends and what it is doesn't depend on who reads it."""
    data = invoke(body_of(1)) + LAST
    for place, dropped, word in changes:
        data = data[:place] + word + data[place + dropped :]

    async def play() -> None:
        async with gateways() as gateway:
            ours, aiohttps = await readings(gateway, data)
            assert ours in aiohttps

    uvloop.run(play())
