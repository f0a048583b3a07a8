"""Who else may read what our processes make, and what they wait for at start."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Process, System, eventually, system


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def modes(directory: Path) -> dict[str, int]:
    """Of files and directories, by kind: those that differ from what they should have."""
    wanted = {stat.S_IFREG: 0o640, stat.S_IFDIR: 0o750, stat.S_IFSOCK: 0o660}
    found = {path: path.lstat().st_mode for path in (directory, *directory.rglob("*"))}
    return {str(path): mode for path, mode in found.items() if stat.S_IMODE(mode) != wanted[stat.S_IFMT(mode)]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_are_for_the_group_whatever_the_umask(started: System, umask: int) -> None:
    """Of sidecar and gateway: history, log, locks, journals, and the directories that they make."""
    before = os.umask(umask)
    try:
        started.start_mock()
        started.socket = started.data / "run/sidecar.sock"
        started.start_sidecar()
        started.start_gateway(INVOKER_JOURNAL_DIR=str(started.data / "gateway/journal"))
        started.invoke("m")
        started.settled("m", 1)
    finally:
        os.umask(before)
    assert modes(started.data) == {}
    assert (started.data / "history.db").exists()


def test_what_everybody_could_read_is_mended(started: System) -> None:
    """Of a history that an earlier release has made."""
    started.start_sidecar().stop()
    for path in started.data.iterdir():
        path.chmod(0o644)
    started.start_sidecar()
    assert modes(started.data) == {}


def test_a_lock_that_another_holds_is_waited_for_a_while(started: System) -> None:
    """The socket's directory: then it is one line and exit code 2; but a moment holds up nobody."""
    directory = started.directory / "run"
    directory.mkdir()
    held = os.open(directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    environment = {"SIDECAR_PORT": "0", "SIDECAR_SOCKET": str(directory / "s"), "SIDECAR_DATA_DIR": str(started.data)}
    process = Process("metrics_sidecar", environment)
    started.processes.append(process)
    assert process.wait(60) == 2
    (line,) = process.stderr.splitlines()
    assert line == f"metrics-sidecar: error: SIDECAR_SOCKET: another process holds the lock of {str(directory)!r}"
    started.socket = directory / "s"
    again = Process("metrics_sidecar", environment)
    started.processes.append(again)
    while not (started.data / "history.db-wal").exists():
        time.sleep(0.01)
    os.close(held)
    again.event("sidecar.listening")


def test_a_journal_lock_that_another_holds_stops_no_gateway(started: System) -> None:
    """It serves, and says what it lacks; once the lock is free, records are kept again."""
    started.start_mock()
    started.start_sidecar()
    journal = started.directory / "journal"
    journal.mkdir()
    held = os.open(journal / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    gateway = started.start_gateway()
    assert "holds its lock" in gateway.event("journal.full")["detail"]
    os.close(held)
    gateway.event("outbox.connected")
    eventually(lambda: (started.invoke("m")[0], started.stats("m")), lambda told: told[0] == 200 and told[1])
    gateway.event("journal.space_again")
