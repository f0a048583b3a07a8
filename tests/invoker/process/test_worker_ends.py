"""Workers that stop, hang, or can't start again; and children of the parent that are no workers."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invoker.front.hanging import SLEEP, SPIN
from tests.processes import Process, System, children, eventually, get, system

HANGING = "tests.invoker.front.hanging"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        started.start_mock()
        yield started


def pids_of(gateway: Process, count: int) -> list[int]:
    """Those of the first workers, by their numbers."""
    events = [gateway.event("worker.listening", number) for number in range(1, count + 1)]
    return [event["pid"] for event in sorted(events, key=lambda event: event["worker"])]


@pytest.mark.parametrize("number", [signal.SIGSTOP, SLEEP, SPIN], ids=["stopped", "waits", "spins"])
def test_a_worker_that_stands_still_is_replaced(running: System, number: signal.Signals) -> None:
    """It is told, and its share of the port goes to one that answers; the other isn't touched."""
    gateway = running.start_gateway(HANGING, INVOKER_WORKERS="2", INVOKER_WORKER_TIMEOUT_S="1")
    first, second = pids_of(gateway, 2)
    os.kill(first, number)
    told = eventually(lambda: gateway.events("worker.stands_still"), bool, 60.0)
    assert [(event["worker"], event["pid"]) for event in told] == [(0, first)]
    assert gateway.event("worker.listening", 3)["worker"] == 0
    assert [running.invoke()[0] for _ in range(20)] == [200] * 20
    assert second in children(gateway.pid)
    assert gateway.stop() == 0


def test_a_worker_may_stand_still_where_the_setting_says_so(running: System) -> None:
    """With 0, for as long as it likes."""
    gateway = running.start_gateway(INVOKER_WORKERS="2", INVOKER_WORKER_TIMEOUT_S="0")
    first, second = pids_of(gateway, 2)
    os.kill(first, signal.SIGSTOP)
    time.sleep(2.5)  # ticks in which it would have been killed
    os.kill(second, signal.SIGKILL)
    gateway.event("worker.listening", 3)
    os.kill(first, signal.SIGCONT)
    assert gateway.stop() == 0
    assert [event["worker"] for event in gateway.events("worker.died")] == [1]


def test_a_gateway_that_was_paused_kills_nobody(running: System) -> None:
    """Stopped and continued as a whole, as a debugger, `docker pause` or a laptop's lid do it."""
    gateway = running.start_gateway(INVOKER_WORKERS="2", INVOKER_WORKER_TIMEOUT_S="1")
    first, _ = pids_of(gateway, 2)
    for _ in range(2):
        os.killpg(gateway.pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(gateway.pid, signal.SIGCONT)
    os.kill(first, signal.SIGKILL)
    gateway.event("worker.listening", 3)  # so the parent has looked at its workers
    assert gateway.events("worker.stands_still") == []
    assert [event["worker"] for event in gateway.events("worker.died")] == [0]
    assert gateway.stop() == 0


@pytest.mark.parametrize(("number", "timeout_s"), [(signal.SIGSTOP, "1"), (SLEEP, "0"), (SPIN, "0")])
def test_a_stop_kills_a_worker_that_does_not_end(running: System, number: signal.Signals, timeout_s: str) -> None:
    """Because it stands still, or past all the time that it may take."""
    gateway = running.start_gateway(
        HANGING, INVOKER_WORKER_TIMEOUT_S=timeout_s, INVOKER_SHUTDOWN_GRACE_S="0.1", KILL_AFTER_S="0.5"
    )
    (pid,) = pids_of(gateway, 1)
    os.kill(pid, number)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait(60.0) == 0
    assert [event["pid"] for event in gateway.events("worker.killed")] == [pid]
    assert not Path(f"/proc/{pid}").exists()


def test_a_restarted_worker_that_can_not_start_is_tried_again(running: System) -> None:
    """What hinders it may pass, and the others serve meanwhile; only at first it ends the gateway."""
    gateway = running.start_gateway(INVOKER_WORKERS="2")
    first, second = pids_of(gateway, 2)
    journal = running.directory / "journal"
    journal.rename(running.directory / "elsewhere")
    journal.write_text("no directory")
    os.kill(first, signal.SIGKILL)
    assert gateway.event("worker.died", 3)["exit_code"] == 2
    assert "invoker: error: INVOKER_JOURNAL_DIR: " in gateway.stderr
    assert second in children(gateway.pid)
    assert running.invoke()[0] == 200
    journal.unlink()
    (running.directory / "elsewhere").rename(journal)
    assert gateway.event("worker.listening", 3)["worker"] == 0
    assert gateway.stop() == 0


def test_a_worker_that_can_not_be_forked_is_tried_again(running: System) -> None:
    """The gateway waits for the room that it takes, at its start and later."""
    gateway = running.start_gateway(HANGING, FORKS_REFUSED="3")
    assert running.invoke()[0] == 200
    events = gateway.events("worker.not_started")
    assert [event["restart_in_s"] for event in events] == [0.1, 0.2, 0.4]
    assert gateway.stop() == 0


def test_a_child_that_is_no_worker_does_no_harm(running: System) -> None:
    """A shell that becomes the gateway leaves it what it has started."""
    prefix = ("sh", "-c", 'sleep 1000 & echo $! > "$0"; exec "$@"', str(running.directory / "pid"))
    gateway = running.start_gateway(prefix=prefix)
    stranger = int((running.directory / "pid").read_text())
    assert stranger in children(gateway.pid)
    os.kill(stranger, signal.SIGKILL)
    os.kill(gateway.event("worker.listening")["pid"], signal.SIGKILL)
    gateway.event("worker.listening", 2)
    assert get(f"{running.gateway_url}/healthz") == {"status": "ok"}
    assert gateway.stop() == 0
    assert len(gateway.events("worker.died")) == 1
