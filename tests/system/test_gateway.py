"""Gateway, sidecar and model server as processes: what callers were told is what the ledger says."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invoker.process.test_parent import Call, SlowUpstream
from tests.processes import Json, System, eventually, get, get_text, post, system


@pytest.fixture
def running(tmp_path: Path) -> Iterator[System]:
    """A model server and a sidecar; a test starts the gateway as it needs it."""
    with system(tmp_path) as started:
        started.start_mock()
        started.start_sidecar()
        yield started


@pytest.fixture
def slow() -> Iterator[SlowUpstream]:
    with contextlib.closing(SlowUpstream()) as upstream:
        yield upstream


def models_file(directory: Path, text: str) -> str:
    path = directory / "models.toml"
    path.write_text(text)
    return str(path)


def ends(running: System, model_id: str, count: int) -> Counter[str | None]:
    """How the model's invocations ended, once that many are in the history."""
    history = eventually(
        lambda: running.history(f"model_id={model_id}&limit=1000")["history"], lambda rows: len(rows) >= count
    )
    return Counter(row.get("error_type") for row in history)


def open_call(running: System, model_id: str = "m") -> socket.socket:
    """A connection on which a call has been sent."""
    body = json.dumps({"worklet_input": {"model_id": model_id, "input": [1, 2, 3]}}).encode()
    connection = socket.create_connection(("127.0.0.1", int(running.gateway_url.rpartition(":")[2])), 20)
    connection.sendall(b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return connection


def test_the_requests_of_the_specification(running: System) -> None:
    """Each `curl` of the specification, asked of the gateway, is answered as it is written there."""
    running.start_gateway()
    status, answer = running.invoke("gpt-3.5", [1, 2, 3, 4, 5])
    assert (status, answer["worklet_output"], answer["success"], answer["error_log"]) == (
        200,
        [6, 7, 8, 9, 10],
        True,
        "",
    )
    running.settled("gpt-3.5", 1)

    url = running.gateway_url
    history = get(f"{url}/metrics/history?model_id=gpt-3.5&limit=10")
    (row,) = history["history"]
    assert (history["total_count"], history["offset"], history["limit"]) == (1, 0, 10)
    assert (row["model_id"], row["success"], row["input_size"], row["output_size"]) == ("gpt-3.5", True, 5, 5)
    assert row["latency_ms"] == answer["latency_ms"]
    stats = get(f"{url}/metrics/stats?model_id=gpt-3.5")["stats"]["gpt-3.5"]
    assert (stats["total_invocations"], stats["success_rate"]) == (1, 100.0)
    assert stats["total_latency_ms"] == answer["latency_ms"]
    lines = get_text(f"{url}/metrics").splitlines()
    assert 'model_invocations_total{model_id="gpt-3.5",status="success"} 1' in [
        line.removesuffix(".0") for line in lines
    ]


def test_every_end_has_one_record(running: System, slow: SlowUpstream) -> None:
    """However a call ends, its caller's answer and its one record say the same."""
    directory = running.directory
    text = f"""
        [timeout]
        upstream = "{slow.url}"
        timeout = 0.1
        [connect]
        upstream = "http://127.0.0.1:1/"
        retries = 3
        [upstream_status]
        upstream = "{running.upstream.replace("/invoke", "/nothing")}"
        """
    running.start_gateway(INVOKER_MODELS_FILE=models_file(directory, text))
    told = {model_id: running.invoke(model_id) for model_id in ("good", "timeout", "connect", "upstream_status")}
    assert {model_id: status for model_id, (status, _) in told.items()} == {
        "good": 200,
        "timeout": 504,
        "connect": 502,
        "upstream_status": 502,
    }
    for model_id, (_, answer) in told.items():
        running.settled(model_id, 1)
        (row,) = running.history(f"model_id={model_id}")["history"]
        assert row["success"] == answer["success"]
        assert row["error_log"] == answer["error_log"]
        assert row["latency_ms"] == answer["latency_ms"]
        assert row.get("error_type") == (None if model_id == "good" else model_id)


def test_a_refused_request_is_no_invocation(running: System) -> None:
    """It is counted among the rejected and not among the model's invocations."""
    running.start_gateway()
    statuses = [post(f"{running.gateway_url}/invoke", body)[0] for body in (b"{", b"[]", b"\xff")]
    assert statuses == [400, 422, 400]
    assert running.invoke("m")[0] == 200
    running.settled("m", 1)
    assert running.history()["total_count"] == 1


def test_a_caller_that_leaves_is_seen(running: System, slow: SlowUpstream) -> None:
    """A connection closed in mid-call is a failure of type `client_disconnected`, and nothing stays active."""
    running.upstream = slow.url
    running.start_gateway()
    connections = [open_call(running) for _ in range(5)]
    for _ in connections:
        slow.accept()
    active = 'model_active_invocations{model_id="m"} '
    eventually(lambda: _sample(running, active), lambda value: value == 5)
    for connection in connections:
        connection.close()
    assert ends(running, "m", 5) == {"client_disconnected": 5}
    eventually(lambda: _sample(running, active), lambda value: value == 0)


def test_calls_past_the_limit_are_counted(running: System, slow: SlowUpstream) -> None:
    """A 429 is an invocation that failed."""
    running.upstream = slow.url
    running.start_gateway(INVOKER_MAX_IN_FLIGHT="2")
    calls = [Call(running) for _ in range(2)]
    held = [slow.accept() for _ in calls]
    assert [running.invoke("m")[0] for _ in range(3)] == [429] * 3
    for connection in held:
        slow.answer(connection)
    assert [call.wait()[0] for call in calls] == [200, 200]
    assert ends(running, "m", 5) == {"overloaded": 3, None: 2}


def test_a_stop_under_load_loses_nothing(running: System) -> None:
    """Every answer that a caller has seen until the last moment is in the ledger, with two workers."""
    gateway = running.start_gateway(INVOKER_WORKERS="2")
    told: list[tuple[int, Json]] = []
    stopped = threading.Event()

    def load() -> None:
        while not stopped.is_set():
            with contextlib.suppress(OSError):  # the gateway is gone, or was while we connected
                told.append(running.invoke("m"))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    running.settled("m", 100)
    assert gateway.stop() == 0
    stopped.set()
    for thread in threads:
        thread.join()
    answered = Counter(answer["success"] for _, answer in told)
    stats = running.settled("m", len(told))
    # A call whose answer met a closed connection is recorded, too.
    assert answered[True] <= stats["successful_invocations"] <= answered[True] + len(threads)
    assert answered[False] <= stats["failed_invocations"] <= answered[False] + len(threads)


def test_calls_that_a_stop_ends_are_recorded(running: System, slow: SlowUpstream) -> None:
    """Past the grace time they are told 503, and the ledger says `draining`."""
    running.upstream = slow.url
    gateway = running.start_gateway(INVOKER_SHUTDOWN_GRACE_S="0.1")
    calls = [Call(running) for _ in range(3)]
    for _ in calls:
        slow.accept()
    assert gateway.stop() == 0
    assert [call.wait()[0] for call in calls] == [503] * 3
    assert ends(running, "m", 3) == {"draining": 3}


def test_calls_whose_worker_is_killed_are_recorded(running: System, slow: SlowUpstream) -> None:
    """The begin mark in the journal is enough: the next worker tells what became of them."""
    running.upstream = slow.url
    gateway = running.start_gateway()
    connections = [open_call(running) for _ in range(3)]
    for _ in connections:
        slow.accept()
    os.kill(gateway.event("worker.listening")["pid"], signal.SIGKILL)
    assert ends(running, "m", 3) == {"gateway_died": 3}
    for connection in connections:
        connection.close()


def test_callers_never_wait_for_the_sidecar(running: System) -> None:
    """Frozen or dead, it keeps no call from its answer, and gets every record when it is back."""
    gateway = running.start_gateway()
    (_, sidecar) = running.processes[:2]
    assert running.invoke("m")[0] == 200
    sidecar.signal(signal.SIGSTOP)
    assert [running.invoke("m")[0] for _ in range(50)] == [200] * 50
    sidecar.signal(signal.SIGCONT)
    running.settled("m", 51)
    sidecar.signal(signal.SIGKILL)
    sidecar.wait()
    assert [running.invoke("m")[0] for _ in range(50)] == [200] * 50
    status = eventually(lambda: get(f"{running.gateway_url}/readyz"), lambda ready: ready["status"] == "degraded")
    assert "the sidecar is not connected" in status["reasons"][0]
    running.start_sidecar()
    assert running.settled("m", 101)["successful_invocations"] == 101
    eventually(lambda: get(f"{running.gateway_url}/readyz"), lambda ready: ready == {"status": "ready", "reasons": []})
    assert gateway.stop() == 0


@pytest.mark.parametrize("size", [1_500_000, 5_000_000])
def test_large_bodies_pass(running: System, size: int) -> None:
    """Up to the limit, there and back."""
    running.start_gateway()
    status, answer = running.invoke("m", [1] * (size // 3))
    assert (status, answer["worklet_output"]) == (200, [6] * (size // 3))


def _sample(running: System, start: str) -> float | None:
    """The value of one line of `/metrics`."""
    for line in get_text(f"{running.sidecar_url}/metrics").splitlines():
        if line.startswith(start):
            return float(line.removeprefix(start))
    return None


def test_the_gateways_own_overhead_is_a_histogram(running: System) -> None:
    """What the gateway adds to calls is exposed, one observation for each call that the upstream answered."""
    running.start_gateway()
    for _ in range(3):
        assert running.invoke()[0] == 200
    text = eventually(
        lambda: get_text(f"{running.sidecar_url}/metrics"), lambda text: "invoker_overhead_seconds_count 3.0" in text
    )
    assert 'invoker_overhead_seconds_bucket{le="+Inf"} 3.0' in text
