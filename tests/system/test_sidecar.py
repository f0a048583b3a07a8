"""The sidecar as a process: damage, full disks, a second sidecar, a lost socket. The gateway goes on meanwhile."""

import os
import shutil
import signal
import socket
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.disk import fill, free, small_disk
from tests.processes import Json, Process, System, children, eventually, get, get_text, system
from tests.tools import lack

HURRIED = {"SIDECAR_SHUTDOWN_GRACE_S": "0.1"}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def refused(process: Process) -> str:
    """The one line of a process that can't start."""
    assert process.wait() == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("metrics-sidecar: error: ")
    return line


def sidecar_beside(started: System, **settings: str) -> Process:
    """A sidecar that is not waited for, by default on the same directory and socket."""
    environment = {
        "SIDECAR_PORT": "0",
        "SIDECAR_SOCKET": str(started.socket),
        "SIDECAR_DATA_DIR": str(started.data),
        **settings,
    }
    process = Process("metrics_sidecar", environment)
    started.processes.append(process)
    return process


def readiness(url: str) -> tuple[int, Json]:
    try:
        return 200, get(f"{url}/readyz")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {"reasons": error.read().decode()}


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("damage", ["no database", "cut off", "directory"])
def test_a_damaged_history_stops_the_sidecar_and_not_the_gateway(started: System, damage: str) -> None:
    """Exit code 2, one line, the file untouched; once it is moved away, all that was invoked meanwhile arrives."""
    started.start_mock()
    sidecar = started.start_sidecar(**HURRIED)
    assert sidecar.stop() == 0
    history = started.data / "history.db"
    if damage == "no database":
        history.write_bytes(b"precious" * 1000)
    elif damage == "cut off":
        history.write_bytes(history.read_bytes()[:-5000])
    else:
        history.unlink()
        history.mkdir()
        (history / "precious").write_text("file")
    before = files(history) if history.is_dir() else history.read_bytes()
    started.start_gateway()
    assert str(history) in refused(sidecar_beside(started))
    assert {started.invoke()[0] for _ in range(20)} == {200}
    assert str(history) in refused(sidecar_beside(started))
    assert (files(history) if history.is_dir() else history.read_bytes()) == before
    assert {path.name for path in started.data.iterdir()} == {"history.db", "sidecar.lock"}

    history.rename(started.data / "damaged.db")
    started.start_sidecar(**HURRIED)
    assert started.settled("gpt-3.5", 20)["total_invocations"] == 20
    reconciled = get(f"{started.sidecar_url}/metrics/reconcile")
    assert (reconciled["consistent"], reconciled["checked"]["rows"]) == (True, 20)


def test_damage_that_shows_while_it_runs_is_acknowledged_to_nobody(started: System) -> None:
    """The sidecar stays, says so, and takes nothing in; the records wait and go to the next history."""
    started.start_mock()
    first = started.start_sidecar(**HURRIED)
    started.start_gateway()
    started.invoke()
    started.settled("gpt-3.5", 1)
    first.stop()
    sidecar = started.start_sidecar(**HURRIED)
    history = started.data / "history.db"
    with history.open("r+b") as file:  # all but the first page, none of which SQLite has read yet
        file.seek(4096)
        file.write(bytes(history.stat().st_size - 4096))
    assert {started.invoke()[0] for _ in range(20)} == {200}
    status, answer = eventually(lambda: readiness(started.sidecar_url), lambda answer: answer[0] == 503)
    assert "the ledger can't commit" in answer["reasons"]
    assert status == 503
    sidecar.event("ledger.commit_failed")
    assert len(sidecar.events("ledger.commit_failed")) == 1
    sidecar.kill_all()
    for path in started.data.glob("history.db*"):
        path.rename(started.directory / path.name)
    started.start_sidecar(**HURRIED)
    assert started.settled("gpt-3.5", 20)["total_invocations"] == 20


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB, to be filled."""
    directory = tmp_path / "disk"
    with small_disk(directory, megabytes=2) as mounted:
        if not mounted:
            lack("a disk that can be filled is a tmpfs, and to mount one takes root")
        yield directory


def test_a_full_disk_costs_no_record(full_disk: Path, tmp_path: Path) -> None:
    """Nothing is acknowledged, the sidecar stays and says why; with space again all arrives, nothing twice."""
    with system(tmp_path) as started:
        started.data = full_disk
        started.start_mock()
        sidecar = started.start_sidecar(**HURRIED)
        started.start_gateway()
        for _ in range(30):
            started.invoke()
        started.settled("gpt-3.5", 30)
        counters = get_text(f"{started.sidecar_url}/metrics")
        for _ in range(2):
            fill(full_disk)
            before = started.stats("gpt-3.5")["total_invocations"]
            for _ in range(200):
                assert started.invoke("gpt-3.5", "x" * 100)[0] == 200
            _, answer = eventually(lambda: readiness(started.sidecar_url), lambda answer: answer[0] == 503)
            assert "full" in answer["reasons"]
            shown = started.history("limit=1")["total_count"]
            assert before <= shown < before + 200
            assert "model_invocations_total" in get_text(f"{started.sidecar_url}/metrics")
            assert get(f"{started.sidecar_url}/metrics/reconcile")["consistent"]
            free(full_disk)
            started.settled("gpt-3.5", before + 200)
            eventually(lambda: readiness(started.sidecar_url)[0], lambda status: status == 200)
        assert started.stats("gpt-3.5")["total_invocations"] == 430
        reconciled = get(f"{started.sidecar_url}/metrics/reconcile")
        assert (reconciled["consistent"], reconciled["missing"]["count"]) == (True, 0)
        sidecar.event("ledger.commit_works_again", 2)
        assert len(sidecar.events("ledger.commit_failed")) == len(sidecar.events("ledger.commit_works_again")) == 2
        assert "model_invocations_total" in counters
        assert sidecar.stop() == 0


def test_a_sidecar_stops_on_a_full_disk_and_resumes(full_disk: Path, tmp_path: Path) -> None:
    """SIGTERM ends it in time, though nothing can be committed; the next one has all."""
    with system(tmp_path) as started:
        started.data = full_disk
        started.start_mock()
        sidecar = started.start_sidecar(**HURRIED)
        started.start_gateway()
        fill(full_disk)
        for _ in range(20):
            assert started.invoke()[0] == 200
        eventually(lambda: readiness(started.sidecar_url)[0], lambda status: status == 503)
        assert sidecar.stop() == 0
        free(full_disk)
        started.start_sidecar(**HURRIED)
        assert started.settled("gpt-3.5", 20)["total_invocations"] == 20


def test_a_second_sidecar_is_refused(started: System) -> None:
    """On the same directory, on the same socket, and on both; the first one isn't disturbed."""
    started.start_mock()
    sidecar = started.start_sidecar(**HURRIED)
    started.start_gateway()
    other_socket = {"SIDECAR_SOCKET": str(started.directory / "other.sock")}
    other_data = {"SIDECAR_DATA_DIR": str(started.directory / "other")}
    assert f"another sidecar uses '{started.data}'" in refused(sidecar_beside(started))
    assert f"another sidecar uses '{started.data}'" in refused(sidecar_beside(started, **other_socket))
    assert f"another process listens on '{started.socket}'" in refused(sidecar_beside(started, **other_data))
    started.invoke()
    assert started.settled("gpt-3.5", 1)["total_invocations"] == 1
    assert sidecar.stop() == 0
    started.start_sidecar(**HURRIED)


def test_of_many_that_start_on_one_stale_socket_one_runs(started: System) -> None:
    """Those that start at once on different directories can't all remove the stale file and listen."""
    sidecar = started.start_sidecar(**HURRIED)
    sidecar.kill_all()
    assert started.socket.exists()
    rivals = [sidecar_beside(started, SIDECAR_DATA_DIR=str(started.directory / f"data{number}")) for number in range(5)]
    eventually(lambda: sum(rival.exit_code is None for rival in rivals), lambda running: running == 1, 30.0)
    (winner,) = (rival for rival in rivals if rival.exit_code is None)
    winner.event("sidecar.listening")
    assert {refused(rival).partition("another")[2] for rival in rivals if rival is not winner} == {
        f" process listens on '{started.socket}'"
    }


@pytest.mark.parametrize("lost", ["file", "directory"])
def test_a_socket_that_is_removed_is_made_anew(started: System, lost: str) -> None:
    """Connections stay as they are, and new workers find their way; one line tells of it."""
    started.socket = started.directory / "run" / "sidecar.sock"
    started.start_mock()
    sidecar = started.start_sidecar(**HURRIED)
    first = started.start_gateway()
    started.invoke()
    started.settled("gpt-3.5", 1)
    if lost == "file":
        started.socket.unlink()
    else:
        shutil.rmtree(started.socket.parent)
    sidecar.event("intake.socket_replaced")
    assert started.socket.is_socket()
    started.invoke()
    started.settled("gpt-3.5", 2)
    assert first.events("outbox.disconnected") == []
    started.start_gateway(INVOKER_JOURNAL_DIR=str(started.directory / "journal2"))
    started.invoke("late")
    started.settled("late", 1)
    assert len(sidecar.events("intake.socket_replaced")) == 1
    assert sidecar.stop() == 0
    assert not started.socket.exists()


def test_a_socket_whose_place_is_taken_is_told_and_left(started: System) -> None:
    """What took it is not removed; not ready until it is gone, and then there again."""
    sidecar = started.start_sidecar(**HURRIED)
    started.socket.unlink()
    started.socket.write_text("precious")
    _, answer = eventually(lambda: readiness(started.sidecar_url), lambda answer: answer[0] == 503)
    assert "is not a socket" in answer["reasons"]
    assert started.socket.read_text() == "precious"
    started.socket.unlink()
    eventually(lambda: readiness(started.sidecar_url)[0], lambda status: status == 200)
    assert started.socket.is_socket()
    sidecar.event("intake.socket_lost")
    assert len(sidecar.events("intake.socket_lost")) == 1


def test_a_reader_that_dies_is_started_again_and_shows(started: System) -> None:
    """While history can't be asked, `/readyz` says so; but not with a 503, as records are taken in."""
    started.start_sidecar(**HURRIED)
    url = started.sidecar_url
    assert readiness(url) == (200, {"status": "ready", "reasons": []})
    (reader,) = children(started.processes[-1].pid)
    os.kill(reader, signal.SIGKILL)
    status, told = eventually(lambda: readiness(url), lambda ready: ready[1]["status"] == "degraded")
    assert status == 200
    (reason,) = told["reasons"]
    assert reason.startswith("reader failed and is started again: StoreError: the process that reads the history")
    eventually(lambda: children(started.processes[-1].pid), lambda found: found not in ({reader}, set()))  # unasked
    assert started.history()["total_count"] == 0
    eventually(lambda: readiness(url), lambda ready: ready == (200, {"status": "ready", "reasons": []}), 30)
    (event,) = started.processes[-1].events("background.failed")
    assert event["task"] == "reader"


def test_a_sidecar_that_stops_answers_while_it_waits_for_gateways(started: System) -> None:
    """With `Connection: close`, and `/readyz` is 503; a caller that is idle is closed, and not cut off in an answer."""
    sidecar = started.start_sidecar(SIDECAR_SHUTDOWN_GRACE_S="1000")
    gateway = started.start_gateway()
    eventually(lambda: get(f"{started.gateway_url}/readyz")["status"], lambda status: status == "ready")
    address = ("127.0.0.1", int(started.sidecar_url.rpartition(":")[2]))
    with socket.create_connection(address, 20) as scraper, socket.create_connection(address, 20) as idle:
        scraper.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Connection: close" not in scraper.recv(65536)
        sidecar.signal(signal.SIGTERM)
        sidecar.event("sidecar.stopping")
        status, told = readiness(started.sidecar_url)
        assert (status, "the sidecar is shutting down" in told["reasons"]) == (503, True)
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: scraper.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"\n")
        assert gateway.stop() == 0
        assert idle.recv(1) == b""
    assert sidecar.wait() == 0
