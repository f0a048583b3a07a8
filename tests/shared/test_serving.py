"""How a process gets its address, and what stops it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest
from aiohttp import web

from shared.errors import problem_middleware
from shared.request_heads import MAX_REQUEST_LINE_BYTES
from shared.serving import bind, close_while, listen, running, serving, stop_signal, url_of
from shared.settings import StartupError

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1"), ("::1", "http://[::1]")])
def test_an_address_is_bound(host: str, url: str) -> None:
    """Port 0 takes a free one, and the URL says which."""
    with bind(host, 0, "X_PORT") as bound:
        listen(bound, "X_PORT")
        assert url_of(bound) == f"{url}:{bound.getsockname()[1]}"
        socket.create_connection(bound.getsockname()[:2]).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b", "x" * 100, ""])
def test_an_address_of_another_machine(host: str) -> None:
    """The error names the setting of the host, and the value."""
    with pytest.raises(StartupError, match=r"^X_HOST: ") as error:
        bind(host, 0, "X_PORT")
    assert f"{host!r} is no address of this machine" in str(error.value)


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_that_is_taken(reuse_port: bool) -> None:
    """The error names the setting, the address and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as error, bind("127.0.0.1", port, "X_PORT", reuse_port=reuse_port) as bound:
            listen(bound, "X_PORT")
    reason = "another process listens there (address already in use)"
    assert str(error.value) == f"X_PORT: 127.0.0.1:{port} can't be bound: {reason}"


def test_only_one_may_listen_on_a_port_that_is_not_shared() -> None:
    """Two sockets may be bound to it, until one of them listens."""
    with bind("127.0.0.1", 0, "X_PORT") as first, bind("127.0.0.1", first.getsockname()[1], "X_PORT") as second:
        listen(first, "X_PORT")
        with pytest.raises(StartupError, match=r"^X_PORT: 127\.0\.0\.1:\d+ can't be listened on: another process"):
            listen(second, "X_PORT")


@pytest.mark.parametrize("number", STOPS)
async def test_a_stop_signal_sets_the_event(number: signal.Signals) -> None:
    """Each of the signals that end a process in good order."""
    loop = asyncio.get_running_loop()
    try:
        stop = stop_signal()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)
    finally:
        for handled in STOPS:
            loop.remove_signal_handler(handled)


def test_nohup_is_respected() -> None:
    """A hang-up that was ignored when the process started stays ignored."""
    program = (
        "import signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from shared.serving import stop_signals\n"
        "print(sorted(number.name for number in stop_signals()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "['SIGINT', 'SIGTERM']"


@pytest.mark.parametrize(("grace_s", "finished"), [(20.0, True), (0.01, False)])
async def test_open_requests_get_the_grace_time(grace_s: float, finished: bool) -> None:
    """A request within it is answered; one that takes longer is cut off."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/", handler)
    async with aiohttp.ClientSession() as session:
        async with running(app, grace_s) as runner:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            asked = asyncio.ensure_future(session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/"))
            await begun.wait()
            if finished:
                asyncio.get_running_loop().call_later(0.05, go_on.set)
        (answer,) = await asyncio.gather(asked, return_exceptions=True)
        assert isinstance(answer, aiohttp.ClientResponse) is finished
        if isinstance(answer, aiohttp.ClientResponse):
            assert await answer.text() == "done"


@pytest.mark.parametrize(
    ("request_line", "status", "detail"),
    [
        (f"GET /{'x' * (MAX_REQUEST_LINE_BYTES - 100)} HTTP/1.1", 404, "There is nothing at /xxx"),
        (f"GET /{'x' * MAX_REQUEST_LINE_BYTES} HTTP/1.1", 414, "The request line is larger than 327680 bytes"),
        ("BREW /pot HTTP/1.1", 400, "Invalid method"),
        ("GET / HTTP/7.7", 400, "Invalid HTTP version"),
    ],
)
async def test_what_is_no_request_is_told_by_a_problem(request_line: str, status: int, detail: str) -> None:
    """As what is a wrong one; and the connection ends."""
    app = web.Application(middlewares=[problem_middleware])
    with bind("127.0.0.1", 0, "X_PORT") as bound:
        async with running(app, 1.0) as runner, serving(runner, bound):
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(f"{request_line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = (await reader.read()).decode()
            writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.split()[1] == str(status)
    assert "\r\nContent-Type: application/problem+json\r\n" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert len(problem["detail"]) < 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /" + b"x" * MAX_REQUEST_LINE_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8388608\r\n\r\n", 404),
    ],
)
async def test_the_last_answer_reaches_a_peer_that_sends_on(sent: bytes, status: int) -> None:
    """What it has not read yet isn't lost because we haven't read all that it sent."""
    app = web.Application(middlewares=[problem_middleware])
    close_while(app, lambda: True)

    def ask(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, 20) as peer:
            peer.sendall(sent)
            peer.recv(1, socket.MSG_PEEK)  # it is answered, and not taken for one piece with what follows
            peer.sendall(bytes(8 * 1024 * 1024))
            return b"".join(iter(lambda: peer.recv(65536), b""))

    with bind("127.0.0.1", 0, "X_PORT") as bound:
        async with running(app, 1.0) as runner, serving(runner, bound):
            answer = await asyncio.to_thread(ask, bound.getsockname())
            assert answer.split()[1] == str(status).encode()
            assert runner.server is not None
            async with asyncio.timeout(20):
                while runner.server.connections:
                    await asyncio.sleep(0.01)


async def test_nothing_is_accepted_after_the_end() -> None:
    """The socket that was served on is closed."""
    with bind("127.0.0.1", 0, "X_PORT") as bound:
        address = bound.getsockname()
        async with running(web.Application(), 1.0) as runner:
            async with serving(runner, bound):
                socket.create_connection(address).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
