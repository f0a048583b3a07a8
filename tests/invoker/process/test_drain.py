"""A gateway that is told to stop: callers can turn elsewhere first, and none that could be served is refused."""

import contextlib
import signal
import socket
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invoker.front.callers import body_of, invoke
from tests.invoker.process.test_parent import Call, SlowUpstream
from tests.processes import System, eventually, get, system

CALL = invoke(body_of(1))
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def slow() -> Iterator[SlowUpstream]:
    with contextlib.closing(SlowUpstream()) as upstream:
        yield upstream


@pytest.fixture
def running(tmp_path: Path, slow: SlowUpstream) -> Iterator[System]:
    with system(tmp_path) as started:
        started.upstream = slow.url
        yield started


def kept_alive(running: System) -> socket.socket:
    """A connection on which a request was answered, and that a worker keeps."""
    host, port = running.gateway_url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), 20)
    connection.sendall(
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    )  # as a call, and by no upstream
    assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    return connection


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def refuses(running: System) -> bool:
    host, port = running.gateway_url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), 20).close()
    except OSError:
        return True
    return False


def not_ready(running: System) -> bool:
    try:
        get(f"{running.gateway_url}/readyz")
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 503
    return False


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_callers_are_told_before_they_are_refused(running: System, slow: SlowUpstream, second: signal.Signals) -> None:
    """Within the delay each gets its answer and `Connection: close`; a second signal ends it, and then idle connections
    are closed, new ones refused, and what is in flight goes on."""
    gateway = running.start_gateway(INVOKER_DRAIN_DELAY_S="1000")
    with kept_alive(running) as caller, kept_alive(running) as asker, kept_alive(running) as idle:
        call, early = Call(running), slow.accept()
        gateway.signal(signal.SIGTERM)
        eventually(lambda: not_ready(running), bool)
        caller.sendall(CALL)
        slow.answer(slow.accept())
        asker.sendall(HEALTH)
        for answer in (read_all(caller), read_all(asker)):
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nConnection: close\r\n" in answer
        late = Call(running)
        slow.answer(slow.accept())
        assert late.wait()[0] == 200
        assert gateway.events("worker.draining") == []
        gateway.signal(second)
        assert gateway.event("worker.draining")["in_flight"] == 1
        assert read_all(idle) == b""
        eventually(lambda: refuses(running), bool)
        assert gateway.exit_code is None
        slow.answer(early)
        assert call.wait()[0] == 200
    assert gateway.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_nobody_waits_at_a_terminal(running: System, number: signal.Signals) -> None:
    """Ctrl-C has no delay."""
    gateway = running.start_gateway(INVOKER_DRAIN_DELAY_S="1000")
    gateway.signal(number)
    assert gateway.wait() == 0


def test_the_delay_ends_by_itself(running: System) -> None:
    """And the gateway with it, if nothing is in flight."""
    gateway = running.start_gateway(INVOKER_DRAIN_DELAY_S="0.1")
    assert gateway.stop() == 0


def test_a_stop_waits_for_each_call(running: System, slow: SlowUpstream) -> None:
    """For those that take longer than others, too."""
    gateway = running.start_gateway()
    calls = [(Call(running), slow.accept()) for _ in range(2)]
    gateway.signal(signal.SIGTERM)
    gateway.event("worker.draining")
    eventually(lambda: refuses(running), bool)
    time.sleep(1.5)  # longer than answers that are made have to go out
    for call, connection in calls:
        assert gateway.exit_code is None
        slow.answer(connection)
        assert call.wait()[0] == 200
    assert gateway.wait() == 0


def test_a_request_that_had_begun_is_answered(running: System, slow: SlowUpstream) -> None:
    """It came too late to be served; but it is told so, and not cut off."""
    gateway = running.start_gateway()
    with kept_alive(running) as caller:
        call, connection = Call(running), slow.accept()
        caller.sendall(CALL[:-5])
        eventually(lambda: unread_bytes(caller), lambda count: count == 0)
        gateway.signal(signal.SIGTERM)
        gateway.event("worker.draining")
        eventually(lambda: refuses(running), bool)
        caller.sendall(CALL[-5:])
        assert read_all(caller).startswith(b"HTTP/1.1 503 ")
        slow.answer(connection)
        assert call.wait()[0] == 200
    assert gateway.wait() == 0


def unread_bytes(connection: socket.socket) -> int:
    """What its peer has not read yet of what was sent over it."""
    local = f":{connection.getsockname()[1]:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"{fields[2]} ".endswith(local):
            return int(fields[4].partition(":")[2], 16)
    return -1
