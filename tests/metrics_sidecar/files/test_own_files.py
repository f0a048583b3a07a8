"""An export is never written over what a store or a gateway works with."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from invoker.journal.directory import Bound
from invoker.journal.journal import Journal
from metrics_sidecar.files.own_files import refuse_own
from shared.clock import SystemClock
from shared.record import Record
from shared.settings import StartupError
from tests.metrics_sidecar.files.stores import fill
from tests.processes import system

ROOT = Path(__file__).parents[3]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory that a sidecar works in, with a gateway's journal, a backup, and links to them."""
    directory = tmp_path / "data"
    fill(directory, [Record("m", 1, 1)])
    (tmp_path / "backup").write_bytes((directory / "history.db").read_bytes())
    (tmp_path / "hard").hardlink_to(directory / "history.db")
    (tmp_path / "soft").symlink_to(directory / "history.db")
    (tmp_path / "there").symlink_to(directory)
    journal = Journal.create(Bound(directory / "journal", 16 * 1024 * 1024, 1), SystemClock())
    (tmp_path / "entries").hardlink_to(next(journal.directory.glob("*.segment")))
    (tmp_path / "lock").hardlink_to(journal.directory / "lock")
    journal.close()
    with system(tmp_path) as started:
        started.socket = directory / "sidecar.sock"
        started.start_sidecar()
        (tmp_path / "log").write_bytes((directory / "history.db-wal").read_bytes())
        yield directory


OWN = (
    "data/history.db", "data/history.db-wal", "data/history.db-shm", "data/history.db-journal", "data/sidecar.lock",
    "data/sidecar.sock", "data/../data/./history.db", "there/history.db", "there/history.db-journal", "hard", "soft",
    "backup", "entries", "lock", "log", "data",
)  # fmt: skip


def test_what_is_the_stores_own_is_refused(data: Path) -> None:
    """By any name, and although it is not there yet; it stays as it is."""
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    for name in OWN:
        with pytest.raises(StartupError, match="can't be an export: it is "):
            refuse_own(data.parent / name, data)
    command = [sys.executable, "-m", "metrics_sidecar", "export", "--data-dir", str(data), "--format", "csv", "-o"]
    done = subprocess.run([*command, str(data / "history.db")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("history.db can't be an export: it is the store's own; it is left as it is")
    with (data / "history.db").open("ab") as ledger:
        done = subprocess.run([*command, "-"], cwd=ROOT, stdout=ledger, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "the store's own" in done.stderr) == (2, True)
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_none_of_it_is_not(data: Path) -> None:
    """Earlier exports, wherever they are, devices and pipes; and names that only look alike."""
    for name in ("data/old.csv", "history.db", "new.csv", "data/history.db.csv"):
        path = data.parent / name
        refuse_own(path, data)
        path.write_bytes(b'"id"\r\n')
        refuse_own(path, data)
    os.mkfifo(data / "pipe")
    for path in (data / "pipe", Path(os.devnull), Path("-")):
        refuse_own(path, data)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    """Whoever's it is."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(StartupError, match="it is a socket"):
            refuse_own(tmp_path / "s", tmp_path)
