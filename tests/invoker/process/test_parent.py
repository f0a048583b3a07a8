"""The gateway's processes: how they start, stop, die and come back."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Json, Process, System, eventually, get, get_text, system

BODY = json.dumps({"worklet_input": {"model_id": "m", "input": [1]}}).encode()
STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def alive(pid: int) -> bool:
    """Whether a process with this id runs; one that has ended and isn't waited for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def worker_pids(gateway: Process, count: int) -> list[int]:
    return [gateway.event("worker.listening", number)["pid"] for number in range(1, count + 1)]


def ended_with(tmp_path: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """Exit code and stderr of a gateway that doesn't start."""
    gateway = Process("invoker", {"INVOKER_PORT": "0", "INVOKER_JOURNAL_DIR": str(tmp_path), **settings}, *arguments)
    try:
        return gateway.wait(), gateway.stderr
    finally:
        gateway.kill_all()


class Call:
    """An invocation in a thread of its own."""

    def __init__(self, running: System, model_id: str = "m") -> None:
        self.result: tuple[int, Json] | None = None
        self._thread = threading.Thread(target=self._run, args=(running, model_id), daemon=True)
        self._thread.start()

    def _run(self, running: System, model_id: str) -> None:
        self.result = running.invoke(model_id)

    def wait(self) -> tuple[int, Json]:
        self._thread.join(20)
        assert self.result is not None
        return self.result


class SlowUpstream:
    """A model server that answers when it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/invoke"

    def accept(self) -> socket.socket:
        """The connection of the next call, once its request has come."""
        self._listener.settimeout(20)
        connection, _ = self._listener.accept()
        self._connections.append(connection)
        connection.settimeout(20)
        assert connection.recv(65536)
        return connection

    def answer(self, connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{"worklet_output":1}')

    def close(self) -> None:
        for opened in [self._listener, *self._connections]:
            opened.close()


@pytest.fixture
def slow() -> Iterator[SlowUpstream]:
    with contextlib.closing(SlowUpstream()) as upstream:
        yield upstream


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"INVOKER_PORT": "x"}, ["--port", "INVOKER_PORT", "'x'", "from 0 to 65,535"]),
        ({"INVOKER_WORKERS": "0"}, ["INVOKER_WORKERS", "'0'", "from 1 to 256"]),
        ({"INVOKER_UPSTREAM_URL": "nowhere"}, ["INVOKER_UPSTREAM_URL", "'nowhere'", "http://"]),
        ({"INVOKER_HOST": "192.0.2.1"}, ["INVOKER_HOST", "'192.0.2.1'", "no address of this machine"]),
        ({"INVOKER_HOST": "a..b"}, ["INVOKER_HOST", "'a..b'", "no address of this machine"]),
        ({"INVOKER_MODELS_FILE": "/nowhere.toml"}, ["INVOKER_MODELS_FILE: /nowhere.toml: No such file"]),
        ({"INVOKER_JOURNAL_DIR": "/proc/nowhere"}, ["INVOKER_JOURNAL_DIR", "'/proc/nowhere'", "can't be written"]),
        ({"LOG_FORMAT": "xml"}, ["LOG_FORMAT", "'xml'", "'json'"]),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, settings: dict[str, str], said: list[str]) -> None:
    """It names the setting, the value and what is allowed or wrong; the exit code is 2."""
    code, stderr = ended_with(tmp_path, **settings)
    errors = [line for line in stderr.splitlines() if not line.startswith("{")]
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith("invoker: error: ")
    for part in said:
        assert part in errors[0]


def test_a_port_that_is_taken(tmp_path: Path, running: System) -> None:
    """By anybody, another gateway too: one line, exit code 2, and the other isn't disturbed."""
    running.start_gateway()
    port = running.gateway_url.rpartition(":")[2]
    code, stderr = ended_with(tmp_path / "other", INVOKER_PORT=port)
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"INVOKER_PORT: 127.0.0.1:{port} can't be " in stderr
    assert "another process listens there" in stderr
    assert get(f"{running.gateway_url}/healthz") == {"status": "ok"}


def test_an_empty_upstream_is_none(running: System) -> None:
    """A model that no file names is then unknown."""
    running.start_gateway(INVOKER_UPSTREAM_URL="")
    status, answer = running.invoke("m")
    assert (status, answer["worklet_output"], answer["success"]) == (404, None, False)
    assert answer["error_log"] == "Model 'm' is not in the models file, and there is no default upstream"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", STOPS)
def test_a_stop_signal_ends_all_processes(running: System, workers: int, number: signal.Signals) -> None:
    """The exit code is 0 and nothing is left, neither process nor listener."""
    gateway = running.start_gateway(INVOKER_WORKERS=str(workers))
    pids = worker_pids(gateway, workers)
    gateway.signal(number)
    assert gateway.wait() == 0
    assert [pid for pid in pids if alive(pid)] == []
    assert gateway.events("gateway.stopped") != []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(running.gateway_url.rpartition(":")[2])))


def test_control_c_reaches_all_processes_at_once(running: System) -> None:
    """A terminal signals the whole group: no worker is restarted, nothing is told of as a crash."""
    gateway = running.start_gateway(INVOKER_WORKERS="2")
    os.killpg(gateway.pid, signal.SIGINT)
    assert gateway.wait() == 0
    assert (gateway.events("worker.died"), gateway.events("worker.crashed")) == ([], [])
    assert "Traceback" not in gateway.stderr


@pytest.mark.parametrize("number", STOPS)
def test_calls_in_flight_are_finished(running: System, slow: SlowUpstream, number: signal.Signals) -> None:
    """A stop waits for them, and refuses new connections meanwhile."""
    running.upstream = slow.url
    gateway = running.start_gateway()
    call = Call(running)
    connection = slow.accept()
    gateway.signal(number)
    gateway.event("worker.draining")
    slow.answer(connection)
    assert call.wait()[0] == 200
    assert gateway.wait() == 0


def test_calls_past_the_grace_time_are_told(running: System, slow: SlowUpstream) -> None:
    """They get an answer, 503, instead of a broken connection."""
    running.upstream = slow.url
    gateway = running.start_gateway(INVOKER_SHUTDOWN_GRACE_S="0.1")
    calls = [Call(running) for _ in range(3)]
    for _ in calls:
        slow.accept()
    assert gateway.stop() == 0
    for call in calls:
        status, answer = call.wait()
        assert (status, answer["error_log"]) == (503, "the gateway shut down before the upstream answered")


def test_a_worker_that_is_killed_is_replaced(running: System) -> None:
    """Calls go on, and the others aren't touched."""
    running.start_mock()
    gateway = running.start_gateway(INVOKER_WORKERS="2")
    pids = worker_pids(gateway, 2)
    os.kill(pids[0], signal.SIGKILL)
    assert gateway.event("worker.listening", 3)["worker"] == gateway.event("worker.died")["worker"]
    assert [running.invoke()[0] for _ in range(20)] == [200] * 20
    assert alive(pids[1])
    assert gateway.stop() == 0


def test_a_worker_that_keeps_dying_is_restarted_ever_later(running: System) -> None:
    """The pause doubles, so that a worker that can't live doesn't take the machine with it."""
    gateway = running.start_gateway()
    for number in range(1, 4):
        os.kill(gateway.event("worker.listening", number)["pid"], signal.SIGKILL)
    gateway.event("worker.listening", 4)
    assert [event["restart_in_s"] for event in gateway.events("worker.died")] == [0.1, 0.2, 0.4]
    assert gateway.stop() == 0


def test_a_stop_does_not_wait_for_a_restart(running: System) -> None:
    """A stop signal between a worker's death and its restart ends the gateway at once."""
    gateway = running.start_gateway()
    for number in range(1, 4):
        os.kill(gateway.event("worker.listening", number)["pid"], signal.SIGKILL)
    gateway.event("worker.died", 3)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert len(gateway.events("worker.listening")) == 3


def test_workers_leave_when_their_parent_is_killed(running: System, slow: SlowUpstream) -> None:
    """They finish what is in flight first, and none is left."""
    running.upstream = slow.url
    gateway = running.start_gateway(INVOKER_WORKERS="2")
    pids = worker_pids(gateway, 2)
    call = Call(running)
    connection = slow.accept()
    os.kill(gateway.pid, signal.SIGKILL)
    eventually(lambda: len(gateway.events("worker.draining")), lambda count: count == 2)
    slow.answer(connection)
    assert call.wait()[0] == 200
    eventually(lambda: [pid for pid in pids if alive(pid)], lambda left: left == [])


def test_two_workers_share_the_port(running: System) -> None:
    """Connections go to both."""
    running.start_mock()
    gateway = running.start_gateway(INVOKER_WORKERS="2")
    pids = worker_pids(gateway, 2)
    before = [sockets_of(pid) for pid in pids]
    connections = [connected(running) for _ in range(40)]
    try:
        reached = [sockets_of(pid) - idle for pid, idle in zip(pids, before, strict=True)]
        assert min(reached) > 1  # one may be an attempt to reach the sidecar
    finally:
        for connection in connections:
            connection.close()


def connected(running: System) -> socket.socket:
    """A connection over which a call has gone, so that a worker surely has it."""
    connection = socket.create_connection(("127.0.0.1", int(running.gateway_url.rpartition(":")[2])), 20)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    return connection


def sockets_of(pid: int) -> int:
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def test_connections_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    """One connection too many is told so and counted; a place that is left is free again."""
    with system(tmp_path) as running:
        running.start_mock()
        running.start_sidecar()
        running.start_gateway(INVOKER_MAX_CONNECTIONS="2")
        host, port = running.gateway_url.removeprefix("http://").split(":")

        def status_line() -> bytes:
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"GET /docs HTTP/1.1\r\nHost: h\r\n\r\n")
                return connection.recv(65536).partition(b"\r\n")[0]

        with socket.create_connection((host, int(port))):
            with socket.create_connection((host, int(port))):
                eventually(status_line, lambda line: line == b"HTTP/1.1 503 Service Unavailable")
                reasons = get(f"{running.gateway_url}/readyz")["reasons"]
                assert "callers are refused: 2 connections are open, the limit" in reasons
            eventually(status_line, lambda line: line == b"HTTP/1.1 200 OK")
        line = 'invoker_requests_rejected_total{reason="connection_limit"}'
        eventually(lambda: get_text(f"{running.sidecar_url}/metrics"), lambda text: line in text)
