"""Processes with few files: what fits is served, what doesn't is told, and nobody else is blamed."""

import contextlib
import http.client
import json
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.invoker.process.test_parent import SlowUpstream
from tests.processes import Json, System, children, eventually, get, get_text, system

FEW = 64
CALLERS = 45


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        started.start_mock(MOCK_LATENCY="fixed:200ms")
        started.start_sidecar()
        yield started


def hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def call(started: System, statuses: list[int]) -> None:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(started.gateway_url).netloc, timeout=60)) as connection:
        statuses.append(ask(connection, "/invoke", {"worklet_input": {"model_id": "m", "input": [1]}})[0])


def call_together(started: System, count: int) -> Counter[int]:
    """HTTP statuses of calls that are all there at one time."""
    statuses: list[int] = []
    threads = [threading.Thread(target=call, args=(started, statuses)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(statuses) == count
    return Counter(statuses)


def connect(url: str) -> http.client.HTTPConnection:
    """A connection that is accepted."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    assert ask(connection, "/healthz") == (200, b'{"status":"ok"}')
    return connection


def ask(connection: http.client.HTTPConnection, path: str, body: Json | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
    with connection.getresponse() as response:
        return response.status, response.read()


def test_a_low_soft_limit_is_raised(started: System) -> None:
    """Up to the hard one: all callers are served."""
    started.files = (FEW, hard_limit())
    gateway = started.start_gateway()
    assert call_together(started, CALLERS) == {200: CALLERS}
    assert not [
        reason for reason in get(f"{started.gateway_url}/readyz")["reasons"] if "files" in reason and "64" in reason
    ]
    for pid in (gateway.pid, *children(gateway.pid)):
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard_limit(), hard_limit())


def test_with_few_files_callers_are_served_or_told(started: System) -> None:
    """Fewer connections than were asked for, which the log and `/readyz` say; no call fails for want of a file, and
    the sidecar gets all records."""
    started.files = (FEW, FEW)
    gateway = started.start_gateway()
    assert "INVOKER_MAX_CONNECTIONS is 10000, but 64 files are enough for" in gateway.event("files.too_few")["reason"]
    statuses = call_together(started, CALLERS)
    assert set(statuses) == {200, 503}
    readiness = eventually(lambda: get(f"{started.gateway_url}/readyz"), lambda ready: len(ready["reasons"]) == 1)
    assert (readiness["status"], readiness["reasons"]) == ("degraded", [gateway.event("files.too_few")["reason"]])
    assert started.settled("m", statuses[200])["failed_invocations"] == 0
    assert 'invoker_requests_rejected_total{reason="connection_limit"}' in get_text(f"{started.gateway_url}/metrics")
    assert call_together(started, 2) == {200: 2}


def test_a_busy_gateway_with_few_files_says_that_it_is_alive(started: System) -> None:
    """While all connections are taken."""
    with contextlib.closing(SlowUpstream()) as slow:
        started.upstream = slow.url
        started.files = (FEW, FEW)
        gateway = started.start_gateway(INVOKER_SHUTDOWN_GRACE_S="0")
        held = [connect(started.gateway_url) for _ in range(gateway.event("files.too_few")["max_connections"])]
        for connection in held:
            connection.request("POST", "/invoke", '{"worklet_input": {"model_id": "m", "input": 1}}')
        for _ in held:
            slow.accept()
        assert get(f"{started.gateway_url}/healthz") == {"status": "ok"}
        for connection in held:
            connection.close()


def test_callers_wait_while_there_is_no_file(started: System) -> None:
    """Something else has taken them: it is told, and nobody's connection is closed. Then all goes on by itself."""
    gateway = started.start_gateway()
    (worker,) = children(gateway.pid)
    with contextlib.closing(connect(started.gateway_url)) as open_before, without_files(worker):
        statuses: list[int] = []
        caller = threading.Thread(target=call, args=(started, statuses))
        caller.start()
        told = eventually(lambda: json.loads(ask(open_before, "/readyz")[1]), lambda ready: ready["status"] != "ready")
        assert "connections wait to be accepted: Too many open files" in told["reasons"]
        assert statuses == []
    caller.join(60)
    assert statuses == [200]
    name = 'invoker_accept_failures_total{reason="EMFILE"}'
    lines = eventually(
        lambda: get_text(f"{started.sidecar_url}/metrics").splitlines(), lambda lines: f"{name} 0.0" not in lines
    )
    assert any(line.startswith(name) for line in lines)
    assert len(gateway.events("accepting.failed")) == 1
    eventually(lambda: get(f"{started.gateway_url}/readyz")["status"], lambda status: status == "ready", 30)


def test_who_asks_the_sidecar_waits_while_there_is_no_file(started: System) -> None:
    """Records that come on open connections are committed meanwhile."""
    started.start_gateway()
    sidecar = started.processes[1]
    started.invoke("m")
    started.settled("m", 1)
    with contextlib.closing(connect(started.sidecar_url)) as open_before, without_files(sidecar.pid):
        started.invoke("m")
        waiting = threading.Thread(target=get, args=(f"{started.sidecar_url}/healthz",))
        waiting.start()
        told = eventually(lambda: json.loads(ask(open_before, "/readyz")[1]), lambda ready: ready["status"] != "ready")
        assert told["status"] == "degraded"
        assert "connections wait to be accepted: Too many open files" in told["reasons"]
        counted = b'model_invocations_total{model_id="m",status="success"} 2'
        eventually(lambda: ask(open_before, "/metrics")[1], lambda text: counted in text)
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
    name = 'sidecar_accept_failures_total{reason="EMFILE"}'
    assert f"{name} 0.0" not in get_text(f"{started.sidecar_url}/metrics").splitlines()


def test_a_sidecar_with_few_files_takes_fewer_producers_and_says_so(tmp_path: Path) -> None:
    """And answers all the same."""
    with system(tmp_path) as started:
        started.start_mock()
        started.files = (FEW, FEW)
        sidecar = started.start_sidecar()
        reason = sidecar.event("files.too_few")["reason"]
        assert reason.startswith("SIDECAR_MAX_PRODUCERS is 1024, but 64 files are enough for ")
        started.files = None
        started.start_gateway()
        assert started.invoke("m")[0] == 200
        assert started.settled("m", 1)["total_invocations"] == 1
        assert get(f"{started.sidecar_url}/readyz") == {"status": "degraded", "reasons": [reason]}


@pytest.mark.parametrize("module", ["invoker", "metrics_sidecar"])
def test_too_few_files_to_start_with(module: str, tmp_path: Path) -> None:
    """One line and exit code 2."""
    with system(tmp_path) as started:
        started.files = (40, 40)
        process = started._start(module, {"INVOKER_PORT": "0", "SIDECAR_PORT": "0", "SIDECAR_DATA_DIR": str(tmp_path)})
        assert process.wait() == 2
        assert "40 files may be open, too few for any" in process.stderr


@contextlib.contextmanager
def without_files(pid: int) -> Iterator[None]:
    """A process that can't open any more."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard_limit()))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
