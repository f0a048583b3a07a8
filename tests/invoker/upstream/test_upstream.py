"""Calls to model servers, good ones and hostile ones, on real sockets."""

import asyncio
import contextlib
import errno
import gzip
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from invoker.upstream.connect_failure import connect_failure
from invoker.upstream.pool import CROSSING_US, PooledUpstream
from invoker.upstream.port import ConnectError, Upstream, UpstreamError
from shared.clock import SystemClock
from shared.record import ErrorType
from tests.invoker.fakes import FakeClock, post
from tests.invoker.front.hostile import Connection, Handler, asked, http, keeping_alive, serving, writing

MAX_ANSWER_BYTES = 100_000
BODY = b'{"worklet_input":{"model_id":"m","input":[1]}}'
GOOD = b'{"worklet_output":[6]}'


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = PooledUpstream(SystemClock(), MAX_ANSWER_BYTES)
    yield made
    await made.close()


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a descriptor that is gone meanwhile is none


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([http(GOOD)], (200, GOOD)),
        ([http(GOOD, status="201 Created")], (201, GOOD)),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"")),
        ([http(b"")], (200, b"")),
        ([http(b"no JSON \xff")], (200, b"no JSON \xff")),
        ([http(b"", "Location: /elsewhere", status="302 Found")], (302, b"")),
        ([http(b"", "Location: http://127.0.0.1:1/", status="307 Temporary Redirect")], (307, b"")),
        ([http(b"bad", status="400 Bad Request")], (400, b"bad")),
        ([http(b"gone", status="503 Service Unavailable")], (503, b"gone")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", http(GOOD)], (200, GOOD)),
        ([bytes([byte]) for byte in http(GOOD)], (200, GOOD)),
        ([chunked(GOOD[:5], GOOD[5:])], (200, GOOD)),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", GOOD], (200, GOOD)),
        ([b"HTTP/1.0 200 OK\r\n\r\n", GOOD], (200, GOOD)),
        ([http(gzip.compress(GOOD), "Content-Encoding: gzip")], (200, GOOD)),
        ([http(b"x" * MAX_ANSWER_BYTES)], (200, b"x" * MAX_ANSWER_BYTES)),
    ],
)
async def test_an_answer_is_status_and_body(upstream: Upstream, parts: list[bytes], answer: tuple[int, bytes]) -> None:
    """Whatever its status and however it is cut, the whole answer is given; no redirect is followed."""
    async with serving(writing(*parts)) as server:
        assert await asked(upstream, server.url, BODY) == answer
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("parts", "error_type"),
    [
        ([], ErrorType.CONNECT),
        ([b"HTTP/1.1 200 OK\r\nContent-Le"], ErrorType.CONNECT),
        ([http(GOOD)[:-1]], ErrorType.INVALID_RESPONSE),
        ([http(GOOD)[: -len(GOOD)]], ErrorType.INVALID_RESPONSE),
        ([chunked(GOOD, end=b"")], ErrorType.INVALID_RESPONSE),
        ([chunked(GOOD, end=b"5\r\nab")], ErrorType.INVALID_RESPONSE),
        ([chunked(GOOD, end=b"zz\r\n")], ErrorType.INVALID_RESPONSE),
        ([b"220 smtp.example.com ESMTP\r\n\r\n"], ErrorType.INVALID_RESPONSE),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ErrorType.INVALID_RESPONSE),
        ([b"HTTP/1.1 abc OK\r\n\r\n"], ErrorType.INVALID_RESPONSE),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], ErrorType.INVALID_RESPONSE),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"], ErrorType.INVALID_RESPONSE),
        ([http(b"not gzip", "Content-Encoding: gzip")], ErrorType.INVALID_RESPONSE),
        ([http(b"x" * (MAX_ANSWER_BYTES + 1))], ErrorType.INVALID_RESPONSE),
        ([chunked(*[b"x" * 1000] * 101)], ErrorType.INVALID_RESPONSE),
        ([http(gzip.compress(b"x" * 10_000_000), "Content-Encoding: gzip")], ErrorType.INVALID_RESPONSE),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_ANSWER_BYTES + 1)], ErrorType.INVALID_RESPONSE),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 200_000], ErrorType.INVALID_RESPONSE),
    ],
)
async def test_what_is_no_whole_answer(upstream: Upstream, parts: list[bytes], error_type: ErrorType) -> None:
    """An answer that breaks off, is no HTTP or is too large is a failure of the upstream, tried only once."""
    async with serving(writing(*parts)) as server:
        with pytest.raises(UpstreamError) as failure:
            await post(upstream, server.url, BODY)
        assert failure.value.error_type == error_type
        assert not isinstance(failure.value, ConnectError)
        assert str(failure.value)
        assert server.accepted == 1


async def resetting(connection: Connection) -> None:
    await connection.request()
    connection.abort()


async def resetting_in_the_body(connection: Connection) -> None:
    await connection.request()
    await connection.send(http(GOOD)[:-1])
    await asyncio.sleep(0.01)
    connection.abort()


async def resetting_at_once(connection: Connection) -> None:
    connection.abort()


@pytest.mark.parametrize(
    ("handler", "error_type"),
    [
        (resetting, ErrorType.CONNECT),
        (resetting_at_once, ErrorType.CONNECT),
        (resetting_in_the_body, ErrorType.INVALID_RESPONSE),
    ],
)
async def test_a_reset_connection(upstream: Upstream, handler: Handler, error_type: ErrorType) -> None:
    """A reset is a failure with a reason, and never a retry: the upstream may have seen the request."""
    async with serving(handler) as server:
        with pytest.raises(UpstreamError) as failure:
            await post(upstream, server.url, BODY)
        assert (failure.value.error_type, type(failure.value)) == (error_type, UpstreamError)
        assert server.accepted == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/invoke", "http://no-such-host.invalid/invoke"])
async def test_no_connection(upstream: Upstream, url: str) -> None:
    """A refused port and an unknown host are connect errors, safe to try again, that don't name the upstream."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and doesn't listen
        port = bound.getsockname()[1]
        with pytest.raises(ConnectError) as failure:
            await post(upstream, url.format(port=port), BODY)
    assert str(failure.value).startswith("can't connect to upstream: ")
    assert str(port) not in str(failure.value)
    assert "no-such-host" not in str(failure.value)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Whatever this process opens meanwhile is one file too many."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://no-such-host.invalid/"])
@pytest.mark.parametrize("scheme", ["http", "https", "http+unix"])
async def test_having_no_files_is_our_own_fault(upstream: Upstream, url: str, scheme: str) -> None:
    """Whatever was to be opened: a socket, or what names are looked up in."""
    url = "http+unix://%2Fno.sock/" if scheme == "http+unix" else url.replace("http", scheme)
    with no_more_files(), pytest.raises(UpstreamError) as failure:
        await post(upstream, url, BODY)
    assert failure.value.error_type == ErrorType.GATEWAY_ERROR
    assert str(failure.value) == "the gateway can't open a connection: Too many open files"


@pytest.mark.parametrize(
    ("error", "error_type", "said"),
    [
        (OSError(errno.EADDRNOTAVAIL, "x"), ErrorType.GATEWAY_ERROR, "Cannot assign requested address"),
        (OSError(errno.ENOBUFS, "x"), ErrorType.GATEWAY_ERROR, "No buffer space available"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 24] b"), ErrorType.GATEWAY_ERROR, "Too many open files"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), ErrorType.CONNECT, "Connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), ErrorType.CONNECT, "No route to host"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), ErrorType.CONNECT, "its name can't be looked up at the moment"),
        (socket.gaierror(socket.EAI_NONAME, "x"), ErrorType.CONNECT, "its name is not known"),
    ],
)
def test_whose_fault_no_connection_is(error: OSError, error_type: ErrorType, said: str) -> None:
    """Ours, if this machine has run out of something; and the text is true."""
    failure = connect_failure(error)
    assert (failure.error_type, str(failure).partition(": ")[2]) == (error_type, said)
    assert isinstance(failure, ConnectError) == (error_type is ErrorType.CONNECT)
    assert not failure.received


async def test_a_server_without_tls(upstream: Upstream) -> None:
    """What fails in a TLS handshake is named as TLS has it."""

    async def speaking_first(connection: Connection) -> None:
        await connection.send(http(GOOD))
        await connection.closed_by_peer()

    async with serving(speaking_first) as server:
        with pytest.raises(ConnectError, match=r"^can't connect to upstream: TLS: "):
            await post(upstream, server.url.replace("http:", "https:"), BODY)


@pytest.mark.parametrize("size", [0, 1, 65_536, 2**20, 2**20 + 1, 9_000_000])
async def test_the_request_is_the_body_as_json(upstream: Upstream, size: int) -> None:
    """The upstream gets the caller's bytes by POST, with their length and type, however many they are."""
    seen = []

    async def invoke(request: web.Request) -> web.Response:
        seen.append((request.method, request.content_type, request.content_length, await request.read()))
        return web.Response(body=GOOD)

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/some/path", invoke)
    body = os.urandom(size)
    async with TestServer(app) as server:
        assert await asked(upstream, str(server.make_url("/some/path?key=a%2Fb")), body) == (200, GOOD)
    assert seen == [("POST", "application/json", size, body)]


async def test_cookies_are_not_kept(upstream: Upstream) -> None:
    """One caller's answer changes nothing of another caller's request."""
    seen = []

    async def invoke(request: web.Request) -> web.Response:
        seen.append(dict(request.cookies))
        response = web.Response(body=GOOD)
        response.set_cookie("session", "1")
        return response

    app = web.Application()
    app.router.add_post("/", invoke)
    async with TestServer(app) as server:
        for _ in range(2):
            await post(upstream, f"http://localhost:{server.port}/", BODY)  # cookies of bare addresses are never kept
    assert seen == [{}, {}]


async def test_connections_are_kept_and_used_again(upstream: Upstream) -> None:
    """Calls one after the other share one connection; calls at one time have one each."""
    async with serving(keeping_alive(http(GOOD))) as server:
        for _ in range(200):
            assert await asked(upstream, server.url, BODY) == (200, GOOD)
        assert server.accepted == 1
        await asyncio.gather(*(post(upstream, server.url, BODY) for _ in range(50)))
        assert 1 < server.accepted <= 51
        await asyncio.gather(*(post(upstream, server.url, BODY) for _ in range(50)))
        assert server.accepted <= 51


@pytest.mark.parametrize("resets", [True, False])
async def test_a_connection_that_ends_as_it_is_used_again_is_no_failure(upstream: Upstream, resets: bool) -> None:
    """The server's end of an idle connection and the next request cross: it is sent once more, on a fresh one."""

    async def handle(connection: Connection) -> None:
        if connection.number > 1:
            await keeping_alive(http(GOOD))(connection)
        await connection.request()
        await connection.send(http(GOOD))
        await connection.request()
        if resets:
            connection.abort()

    async with serving(handle) as server:
        for accepted in (1, 2, 2):
            assert await asked(upstream, server.url, BODY) == (200, GOOD)
            assert server.accepted == accepted


@pytest.mark.parametrize(
    ("begun", "waited_us", "error_type", "accepted"),
    [
        (b"", 0, ErrorType.CONNECT, 2),
        (b"", CROSSING_US, ErrorType.CONNECT, 1),
        (b"H", 0, ErrorType.CONNECT, 1),
        (http(GOOD)[:-1], 0, ErrorType.INVALID_RESPONSE, 1),
        (chunked(GOOD, end=b""), 0, ErrorType.INVALID_RESPONSE, 1),
    ],
    ids=["twice", "late", "head", "body", "chunk"],
)
async def test_it_is_sent_once_more_at_most(begun: bytes, waited_us: int, error_type: ErrorType, accepted: int) -> None:
    """Not if the fresh connection ends, too; nor after a byte of an answer; nor if it may have been worked on."""
    clock = FakeClock()
    upstream = PooledUpstream(clock, MAX_ANSWER_BYTES)

    async def handle(connection: Connection) -> None:
        await connection.request()
        if connection.number == 1:
            await connection.send(http(GOOD))
            await connection.request()
            clock.elapsed_us += waited_us
            await connection.send(begun)

    async with serving(handle) as server:
        assert await asked(upstream, server.url, BODY) == (200, GOOD)
        with pytest.raises(UpstreamError) as failure:
            await post(upstream, server.url, BODY)
        assert (failure.value.error_type, server.accepted) == (error_type, accepted)
        assert not isinstance(failure.value, ConnectError)
        await upstream.close()


@pytest.mark.parametrize("announced", [True, False])
async def test_a_connection_closed_between_calls_is_no_failure(upstream: Upstream, announced: bool) -> None:
    """The upstream may close an idle connection, with or without a word: the next call makes a new one."""
    answer = http(GOOD, "Connection: close") if announced else http(GOOD)
    async with serving(writing(answer)) as server:
        for number in range(1, 21):
            assert await asked(upstream, server.url, BODY) == (200, GOOD)
            await server.all_closed.wait()
            await asyncio.sleep(0.01)  # the end of the connection is on its way
            assert server.accepted == number


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\n", http(GOOD)[:-1], chunked(GOOD, end=b"")], ids=["", "head", "body", "chunk"]
)
async def test_a_cancelled_call_closes_its_connection(upstream: Upstream, begun: bytes) -> None:
    """Neither a half-read answer nor a late one can reach the next call."""
    answered = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(begun if connection.number == 1 else http(GOOD))
        answered.set()
        await connection.closed_by_peer()

    async with serving(handle) as server:
        call = asyncio.ensure_future(post(upstream, server.url, BODY))
        await answered.wait()
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.all_closed.wait(), 10)
        assert await asked(upstream, server.url, BODY) == (200, GOOD)
        assert server.accepted == 2


async def test_bytes_after_an_answer_are_not_the_next_answer(upstream: Upstream) -> None:
    """A server that writes more than it announced poisons no later call."""
    async with serving(keeping_alive(http(GOOD) + http(b"poison"))) as server:
        for _ in range(5):
            assert await asked(upstream, server.url, BODY) == (200, GOOD)


async def test_calls_leave_no_sockets_open() -> None:
    """After thousands of calls of all ends, closing gives back every descriptor."""
    hostile = [writing(), writing(http(GOOD)[:-1]), writing(b"garbage\r\n\r\n"), keeping_alive(http(GOOD))]

    async def handle(connection: Connection) -> None:
        await hostile[connection.number % len(hostile)](connection)

    async with serving(handle) as server:
        before = open_descriptors()
        upstream = PooledUpstream(SystemClock(), MAX_ANSWER_BYTES)
        for _ in range(40):
            calls = [post(upstream, server.url, BODY) for _ in range(50)]
            await asyncio.gather(*calls, return_exceptions=True)
        await upstream.close()
        await asyncio.wait_for(server.all_closed.wait(), 10)
        await asyncio.sleep(0.01)
        assert open_descriptors() <= before + 1  # the resolver's or the loop's own


def test_proc_is_there() -> None:
    """What the leak test looks at exists here."""
    assert Path("/proc/self/fd").is_dir()
