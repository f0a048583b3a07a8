"""The upstream client against real servers: TLS, IPv6, Unix sockets, nginx, Node.js, uvicorn."""

import asyncio
import errno
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from aiohttp import web

from invoker.upstream.pool import PooledUpstream, prepare
from invoker.upstream.port import ConnectError, Upstream, UpstreamError
from shared.clock import SystemClock
from shared.record import ErrorType
from tests.invoker.fakes import post
from tests.invoker.front.hostile import asked
from tests.processes import eventually
from tests.tools import find_tool, require_tools

BODY = b'{"worklet_input": {"model_id": "m", "input": "\xc3\xa9"}}'


@pytest.fixture
async def upstream() -> AsyncIterator[PooledUpstream]:
    made = PooledUpstream(SystemClock(), 64 * 1024 * 1024)
    yield made
    await made.close()


@pytest.fixture
async def echo() -> AsyncIterator[web.AppRunner]:
    """An aiohttp server that answers with the body; sites are added to it."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    yield runner
    await runner.cleanup()


async def test_a_certificate_is_verified(
    upstream: PooledUpstream, echo: web.AppRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A trusted certificate with the right name is accepted; without trust, or for another name, no byte is sent."""
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_side)
    site = web.TCPSite(echo, "127.0.0.1", 0, ssl_context=server_side)
    await site.start()
    port = echo.addresses[0][1]
    with pytest.raises(ConnectError, match="certificate"):
        await post(upstream, f"https://localhost:{port}/", BODY)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    trusting = PooledUpstream(SystemClock(), 1000)
    assert await asked(trusting, f"https://localhost:{port}/", BODY) == (200, BODY)
    assert await asked(trusting, f"https://localhost:{port}/", BODY) == (200, BODY)
    with pytest.raises(ConnectError, match="certificate"):
        await post(trusting, f"https://127.0.0.1:{port}/", BODY)
    await trusting.close()


async def test_the_authorities_are_read_once_beside_the_loop(
    upstream: PooledUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes tens of milliseconds. If it fails, the calls that want them do, and the next one tries it again."""
    make, threads = ssl.create_default_context, list[int]()

    def count() -> ssl.SSLContext:
        threads.append(threading.get_ident())
        if len(threads) == 1:
            raise OSError(errno.EMFILE, "no files")
        return make()

    monkeypatch.setattr(ssl, "create_default_context", count)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for error_type in (ErrorType.GATEWAY_ERROR, ErrorType.CONNECT):
        calls = [asyncio.create_task(post(upstream, f"https://127.0.0.1:{port}/", BODY)) for _ in range(3)]
        for failed in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failed, UpstreamError)
            assert failed.error_type == error_type
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_ipv6_and_unix_sockets(upstream: Upstream, echo: web.AppRunner, tmp_path: Path) -> None:
    """Upstreams are reached by any address family."""
    await web.TCPSite(echo, "::1", 0).start()
    port = echo.addresses[0][1]
    assert await asked(upstream, f"http://[::1]:{port}/a?b=c", BODY) == (200, BODY)
    path = tmp_path / "model.sock"
    await web.UnixSite(echo, path).start()
    assert await asked(upstream, f"http+unix://{quote(str(path), safe='')}/invoke", BODY) == (200, BODY)


async def test_an_address_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is called by its name: in the request and in TLS. Connections of one are not for another."""
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("several.test").configure_cert(server_side)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    async def tell(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(text=f"{request.host} {request.transport.get_extra_info('sockname')[0]}")

    app = web.Application()
    app.router.add_post("/", tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = ["127.0.0.2", "127.0.0.3"]
    for place in places:
        await web.TCPSite(runner, place, port, ssl_context=server_side).start()
    upstream = PooledUpstream(SystemClock(), 1000)
    for place in [*places, *places]:
        exchange = await upstream.open(f"https://several.test:{port}/", b"", address=place)
        assert await exchange.whole() == f"several.test:{port} {place}".encode()
    with pytest.raises(ConnectError):
        await upstream.open(f"https://several.test:{port}/", b"")  # nobody knows it
    await upstream.close()
    await runner.cleanup()


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_048_576, 10_485_760])
async def test_bodies_of_any_size_pass_unchanged(upstream: Upstream, echo: web.AppRunner, size: int) -> None:
    """Both ways, in one piece or in many."""
    await web.TCPSite(echo, "127.0.0.1", 0).start()
    body = bytes(index % 251 for index in range(1000)) * (size // 1000) + b"x" * (size % 1000)
    assert await asked(upstream, f"http://127.0.0.1:{echo.addresses[0][1]}/", body) == (200, body)


@pytest.mark.parametrize(
    ("url", "head"),
    [
        ("http://h/p", b"POST /p HTTP/1.1\r\nHost: h\r\n"),
        ("http://h:81", b"POST / HTTP/1.1\r\nHost: h:81\r\n"),
        ("http://[::1]:81/?a=b%20c d", b"POST /?a=b%20c%20d HTTP/1.1\r\nHost: [::1]:81\r\n"),
        ("http://h/\u00e9", b"POST /%C3%A9 HTTP/1.1\r\nHost: h\r\n"),
        ("http://u:p%40@h/", b"POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic dTpwQA==\r\n"),
        ("http+unix://%2Frun%2Fm.sock/p", b"POST /p HTTP/1.1\r\nHost: localhost\r\n"),
    ],
)
def test_the_head_of_a_request(url: str, head: bytes) -> None:
    """Path, host and credentials come from the URL, encoded as HTTP has them."""
    target = prepare(url)
    assert target.head == head + b"Content-Length: "
    assert target.authorized == (b"Authorization" in head)


NODE = """
const server = require('http').createServer((request, response) => {
  let body = ''; request.on('data', part => body += part); request.on('end', () => response.end(body));
}); server.listen(PORT, '127.0.0.1');
"""
UVICORN = """
import uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http": return
    body, more = b"", True
    while more:
        message = await receive(); body += message["body"]; more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=PORT, log_level="error", lifespan="off")
"""
NGINX = """daemon off; pid DIR/nginx.pid; error_log stderr; events {}
http { access_log off; client_body_temp_path DIR; proxy_temp_path DIR; fastcgi_temp_path DIR; uwsgi_temp_path DIR;
scgi_temp_path DIR; server { listen 127.0.0.1:PORT; default_type application/json;
location / { return 200 '{"worklet_output": [6]}'; } } }
"""


@contextmanager
def server_process(name: str, directory: Path) -> Iterator[int]:
    """One of the servers that people put behind gateways, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = directory / "server"
    text = {"node": NODE, "uvicorn": UVICORN, "nginx": NGINX}[name]
    script.write_text(text.replace("PORT", str(port)).replace("DIR", str(directory)))
    commands: dict[str, list[str | Path]] = {
        "node": ["node", script],
        "uvicorn": [sys.executable, script],
        "nginx": [find_tool("nginx") or "nginx", "-p", directory, "-c", script],
    }
    process = subprocess.Popen(commands[name])
    try:
        eventually(lambda: _connects(port), bool, 20)
        yield port
    finally:
        process.terminate()
        process.wait()


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", ["node", "uvicorn", "nginx"])
async def test_real_servers(upstream: Upstream, tmp_path: Path, name: str) -> None:
    """Many calls at once and one after the other, each with its own answer."""
    require_tools(*({"node", "nginx"} & {name}))
    with server_process(name, tmp_path) as port:
        url = f"http://127.0.0.1:{port}/invoke"
        for _ in range(5):
            bodies = [b'{"n": %d}' % number for number in range(50)]
            answers = await asyncio.gather(*(asked(upstream, url, body) for body in bodies))
            expected = [b'{"worklet_output": [6]}'] * 50 if name == "nginx" else bodies
            assert answers == [(200, body) for body in expected]


async def test_a_connection_whose_end_is_not_read_yet_is_not_used(upstream: Upstream) -> None:
    """A server that closes after each answer without saying so: no call meets the closed connection."""

    async def answer_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        left.release()

    def serve(ready: "asyncio.Future[int]", loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        async def main() -> None:
            server = await asyncio.start_server(answer_and_leave, "127.0.0.1", 0)
            loop.call_soon_threadsafe(ready.set_result, server.sockets[0].getsockname()[1])
            await asyncio.to_thread(stop.wait)
            server.close()

        asyncio.run(main())

    left = threading.Semaphore(0)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(ready, asyncio.get_running_loop(), stop))
    thread.start()
    try:
        url = f"http://127.0.0.1:{await ready}/"
        for _ in range(50):
            assert await asked(upstream, url, b"") == (200, b"ok")
            assert left.acquire(timeout=10)  # the loop must not see the end before the next call
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
