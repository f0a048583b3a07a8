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

from shared.addresses import bind
from shared.errors import problem_middleware
from shared.head_rules import MAX_REQUEST_LINE_BYTES
from shared.serving import close_while, running, serving, stop_signal

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


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
    with bind("127.0.0.1", 0, "X_PORT")[0] as bound:
        async with running(app, 1.0) as runner, serving(runner, [bound]):
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

    with bind("127.0.0.1", 0, "X_PORT")[0] as bound:
        async with running(app, 1.0) as runner, serving(runner, [bound]):
            answer = await asyncio.to_thread(ask, bound.getsockname())
            assert answer.split()[1] == str(status).encode()
            assert runner.server is not None
            async with asyncio.timeout(20):
                while runner.server.connections:
                    await asyncio.sleep(0.01)


async def test_nothing_is_accepted_after_the_end() -> None:
    """The socket that was served on is closed."""
    with bind("127.0.0.1", 0, "X_PORT")[0] as bound:
        address = bound.getsockname()
        async with running(web.Application(), 1.0) as runner:
            async with serving(runner, [bound]):
                socket.create_connection(address).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
