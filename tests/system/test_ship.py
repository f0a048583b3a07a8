"""`invoker ship`: what dead workers left, sent on where no gateway runs any more."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import System, eventually, get, system


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        started.start_mock()
        yield started


def ship(started: System, *arguments: str, timeout: str = "20") -> subprocess.CompletedProcess[str]:
    """Run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "invoker", "ship", *arguments],
        env={
            "INVOKER_JOURNAL_DIR": str(started.directory / "journal"),
            "SIDECAR_SOCKET": str(started.socket),
            "INVOKER_SHIP_TIMEOUT_S": timeout,
            "PYTHONWARNINGS": "error",
        },
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def killed_after(started: System, invocations: int) -> None:
    """A gateway that dies with its records on its hands, and with what it has adopted of earlier ones."""
    gateway = started.start_gateway()
    for _ in range(invocations):
        assert started.invoke()[0] == 200
    gateway.kill_all()


def test_all_that_the_dead_left_arrives_once(started: System) -> None:
    """Exit code 0 and a line that tells how much; a second time there is nothing left to do."""
    killed_after(started, 15)
    killed_after(started, 5)
    started.start_sidecar()
    done = ship(started)
    assert (done.returncode, done.stdout) == (0, "shipped 20 records of 2 dead workers; left those of 0\n")
    assert started.settled("gpt-3.5", 20)["total_invocations"] == 20
    assert get(f"{started.sidecar_url}/metrics/reconcile")["consistent"]
    again = ship(started)
    assert (again.returncode, again.stdout) == (0, "shipped 0 records of 0 dead workers; left those of 0\n")
    assert started.stats("gpt-3.5")["total_invocations"] == 20


def test_a_journal_that_is_not_for_us_is_left_and_counted(started: System) -> None:
    """The others go on their way."""
    killed_after(started, 5)
    journals = started.directory / "journal"
    (journals / ("0" * 32) / "lock").mkdir(parents=True)
    (journals / ("1" * 32)).write_bytes(b"")
    started.start_sidecar()
    done = ship(started)
    assert (done.returncode, done.stdout) == (1, "shipped 5 records of 1 dead workers; left those of 1\n")
    assert "Traceback" not in done.stderr


def test_without_a_sidecar_it_gives_up_and_leaves_all(started: System) -> None:
    """Exit code 1 after the time it was given; nothing is lost by it."""
    killed_after(started, 5)
    done = ship(started, timeout="0.5")
    assert (done.returncode, done.stdout) == (1, "shipped 0 records of 0 dead workers; left those of 1\n")
    started.start_sidecar()
    assert ship(started).returncode == 0
    assert started.settled("gpt-3.5", 5)["total_invocations"] == 5


def test_a_signal_ends_it(started: System) -> None:
    """In time, with exit code 1 where something is left."""
    killed_after(started, 1)
    with subprocess.Popen(
        [sys.executable, "-m", "invoker", "ship", "--journal-dir", str(started.directory / "journal")],
        env={"SIDECAR_SOCKET": str(started.socket)},
        cwd=Path(__file__).parent.parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("outbox.disconnected" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (1, "shipped 0 records of 0 dead workers; left those of 1\n")


def test_journals_of_the_living_are_left_to_them(started: System) -> None:
    """A gateway that runs beside it goes on; what waits in its journals is not counted as left."""
    killed_after(started, 3)
    other = {"INVOKER_JOURNAL_DIR": str(started.directory / "other")}
    started.start_gateway(**other)
    started.invoke()
    done = ship(started, "--journal-dir", str(started.directory / "other"))
    assert (done.returncode, done.stdout) == (0, "shipped 0 records of 0 dead workers; left those of 0\n")
    started.start_sidecar()
    assert ship(started).stdout == "shipped 3 records of 1 dead workers; left those of 0\n"
    eventually(lambda: started.stats("gpt-3.5").get("total_invocations"), lambda count: count == 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--journal-dir", "/nowhere"], "INVOKER_JOURNAL_DIR: '/nowhere' is no directory"),
        (["--timeout-s", "soon"], "'soon' is not a number from 0.1 to 86,400.0"),
    ],
)
def test_wrong_settings_are_one_line(started: System, arguments: list[str], words: str) -> None:
    """And exit code 2."""
    done = ship(started, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("invoker: error: ")
    assert words in done.stderr
