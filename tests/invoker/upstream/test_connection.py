"""Upstreams' answers: however they are cut, ours are read as llhttp alone reads them."""

import asyncio
import contextlib
import gzip
import itertools
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from invoker.http.answer_parser import AnswerParser, MalformedError
from invoker.http.heads import MAX_HEAD_BYTES
from invoker.upstream.connection import Connection
from invoker.upstream.exchange import BrokenError, WireExchange
from tests.invoker.front.hostile import http
from tests.invoker.upstream.test_upstream import chunked

LIMIT = 20_000
BODY = b'{"worklet_output":[6]}'
PLAIN = http(BODY)
LARGE = http(b"x" * LIMIT)
Result = tuple[int, bytes, bool] | str
"""Status, body and whether the connection may be used again; or how it failed."""


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[Connection]:
    """One to an upstream that never answers by itself."""
    here, there = socket.socketpair()
    made = Connection(LIMIT, lambda _free: None)
    await asyncio.get_running_loop().create_unix_connection(lambda: made, sock=here)
    try:
        yield made
    finally:
        made.close()
        there.close()
        await asyncio.sleep(0)


REQUEST = b"POST / HTTP/1.1\r\n\r\n"


async def exchange(made: Connection, pieces: Sequence[bytes], *, ends: bool) -> Result:
    """What a request comes to whose answer comes in these pieces; after them, the upstream may end the connection."""
    answer = made.exchange(REQUEST, b"")
    for piece in pieces:
        if answer.ended:
            break
        made.data_received(piece)
    if ends and not answer.ended:
        made.eof_received()
        if not answer.ended:
            made.connection_lost(None)
    if not answer.ended:
        answer.abort()
        return "more to come"
    if answer.error is None:
        return answer.status, await body_of(answer), made.reusable
    assert (answer.opened.exception() is None) == (answer.status > 0)
    return f"broken off, {answer.status > 0=}" if isinstance(answer.error, BrokenError) else "malformed"


async def body_of(answer: WireExchange) -> bytes:
    """In the coding that it came in."""
    return b"".join([piece async for piece in answer.packed_chunks()])


def llhttps(data: bytes, *, ends: bool) -> Result:
    """The same by the real parser alone."""
    parser = AnswerParser(LIMIT)
    try:
        parser.feed(data)
        if ends and not parser.complete:
            parser.end()
        if parser.complete:
            return parser.status, b"".join(parser.body), parser.keep_alive
    except MalformedError:
        return "malformed"
    return f"broken off, answer.status > 0={parser.started}" if ends else "more to come"


ANSWERS = [
    PLAIN,
    LARGE,
    http(b""),
    http(BODY, "Connection: close"),
    http(BODY, "Connection: keep-alive"),
    http(BODY, "Proxy-Connection: close"),
    http(BODY, "Content-Length: 22"),
    http(BODY, "X: " + "x" * MAX_HEAD_BYTES),
    http(BODY, status="200"),
    http(BODY, status="503 Oh \t!"),
    http(BODY, status="99 Low"),
    http(BODY, "Transfer-Encoding: chunked"),
    http(gzip.compress(BODY), "Content-Encoding: gzip"),
    http(BODY, "Content-Encoding: identity"),
    http(BODY, status="205 Reset Content"),
    http(b"x" * (LIMIT + 1)),
    http(b"", "Content-Length: 5"),
    http(BODY, "Upgrade: h2c", "Connection: upgrade"),
    http(BODY, "X : y"),
    http(BODY, " folded: y"),
    PLAIN.replace(b"\r\n", b"\n"),
    PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    PLAIN.replace(b"Length: 22", b"Length: 23"),
    PLAIN.replace(b"Length: 22", b"Length: 21"),
    PLAIN.replace(b"Length: 22", b"Length: +22"),
    PLAIN.replace(b"Length: 22", b"Length: 22, 22"),
    PLAIN.replace(b"Length: 22", b"Length: 9999999999"),
    PLAIN + PLAIN,
    b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    chunked(BODY[:5], BODY[5:]),
    chunked(*[b"xx"] * 3000),
    http(BODY, "X: " + "x" * 70_000),
    b"no HTTP\r\n\r\n",
    b"\r\n\r\n",
]


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("data", ANSWERS)
async def test_one_piece(data: bytes, ends: bool) -> None:
    """Status, body, and whether the connection is clean: all as llhttp has them."""
    async with connection() as made:
        assert await exchange(made, [data], ends=ends) == llhttps(data, ends=ends)


@pytest.mark.parametrize("data", [PLAIN, http(BODY, "Connection: close"), chunked(BODY), ANSWERS[28], ANSWERS[32]])
async def test_two_pieces(data: bytes) -> None:
    """Wherever it is cut, the answer is the same; without its second piece it isn't whole."""
    for place in range(1, len(data)):
        async with connection() as made:
            assert await exchange(made, [data[:place], data[place:]], ends=False) == llhttps(data, ends=False)
        async with connection() as made:
            broken = await exchange(made, [data[:place]], ends=True)
            assert broken == llhttps(data[:place], ends=True)


@settings(max_examples=100)
@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 300), max_size=8), st.booleans())
def test_many_pieces(data: bytes, places: list[int], ends: bool) -> None:
    """The same; but what follows a whole answer is met only by a connection that is used again."""
    cuts = [0, *sorted(places), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(cuts) if begin < end]

    async def play() -> None:
        async with connection() as made:
            result = await exchange(made, pieces, ends=ends)
            expected = [llhttps(data[:end], ends=ends and end == len(data)) for end in cuts[1:]]
            assert result in expected
            if isinstance(expected[-1], str):
                assert result == expected[-1] or not isinstance(result, str)

    uvloop.run(play())


async def test_more_than_an_answer() -> None:
    """Even a line's end, which llhttp lets pass, makes a connection unfit for another request."""
    for pieces in ([PLAIN + b"\r\n"], [PLAIN[:-1], PLAIN[-1:] + b"\r\n"]):
        async with connection() as made:
            assert await exchange(made, pieces, ends=False) == (200, BODY, False)


async def test_answers_in_a_row() -> None:
    """A head that came before is known again, and only if it is the same to the last byte."""
    small = [http(b"123"), http(b"456", status="500 OK"), http(b"789")]
    answers = [PLAIN, PLAIN, *small, LARGE, chunked(BODY), PLAIN, *small]
    async with connection() as made:
        for data in answers:
            assert await exchange(made, [data], ends=False) == llhttps(data, ends=False)
        assert made.is_quiet()


@pytest.mark.parametrize("data", [PLAIN, chunked(BODY)])
async def test_an_answer_before_the_request_is_out(data: bytes) -> None:
    """It counts, and the connection is not used again: the rest of the request would be the next one's."""
    async with connection() as made:
        answer = made.exchange(REQUEST, b"x" * 5_000_000)
        made.data_received(data)
        assert (answer.status, await body_of(answer)) == (200, BODY)
        assert not made.reusable


@pytest.mark.parametrize("before", [[], [PLAIN[:-1]], [PLAIN[:20]], [chunked(BODY)[:-1]]])
async def test_what_comes_for_nobody(before: list[bytes]) -> None:
    """Data after an exchange, or for a caller that is gone, ends the connection and hurts nobody."""
    async with connection() as made:
        answer = made.exchange(REQUEST, b"")
        for piece in before:
            made.data_received(piece)
        answer.abort()
        made.data_received(b"}")
        assert not made.reusable
        with pytest.raises(BrokenError):
            await made.exchange(REQUEST, b"").opened


async def test_small_pieces_cost_little_memory() -> None:
    """A body in pieces of two bytes, plain or in chunks, is kept in few."""
    for data in (http(b"xy" * 10_000), chunked(*[b"xy"] * 10_000)):
        async with connection() as made:
            answer = made.exchange(REQUEST, b"")
            begin = data.find(b"\r\n\r\n") + 4
            made.data_received(data[:begin])
            for place in range(begin, len(data) - 2, 7):
                made.data_received(data[place : min(place + 7, len(data) - 2)])
            kept = answer._pieces
            assert not answer.ended
            assert sum(map(len, kept)) > 19_900
            assert len(kept) < 10
            answer.abort()
