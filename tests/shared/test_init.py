"""The first process of a container: any command waits for what has lost its parent, and passes signals on."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.namespaces import first_of_namespace
from tests.processes import Process, children, eventually

ORPHAN = '(sleep 1000 & echo started) > "$0"; exec "$@"'
"""A shell in a shell leaves a child behind, whose parent is then the first process: what the command becomes."""
EARLY = """
import os, sys
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Leaves a child that ends as the command begins."""
COMMANDS = {
    "invoker": ("worker.listening", {"INVOKER_PORT": "0", "INVOKER_DRAIN_DELAY_S": "0"}),
    "metrics_sidecar": ("sidecar.listening", {"SIDECAR_PORT": "0"}),
    "deploy.mock_server": ("mock.listening", {"MOCK_PORT": "0"}),
}


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_process(tmp_path: Path, module: str, number: signal.Signals) -> None:
    """It serves, leaves no child that has ended, stops when told to, and its exit code is the command's."""
    prefix = (*first_of_namespace(), "sh", "-c", ORPHAN, str(tmp_path / "orphan"))
    event, settings = COMMANDS[module]
    paths = {
        "INVOKER_JOURNAL_DIR": str(tmp_path / "journal"),
        "SIDECAR_SOCKET": str(tmp_path / "s"),
        "SIDECAR_DATA_DIR": str(tmp_path / "data"),
    }
    process = Process(module, {**paths, **settings}, prefix=prefix)
    try:
        process.event(event)
        (first,) = children(process.pid)
        (orphan,) = [pid for pid in children(first) if command_of(pid) == "sleep"]
        os.kill(orphan, signal.SIGKILL)
        eventually(lambda: orphan in children(first), lambda there: not there)
        os.kill(first, number)
        assert process.wait() == 0
    finally:
        process.kill_all()


def test_what_has_ended_before_it_waits() -> None:
    """While it still loads its code, say: it is waited for as well."""
    prefix = (*first_of_namespace(), sys.executable, "-c", EARLY)
    process = Process("deploy.mock_server", {"MOCK_PORT": "0"}, prefix=prefix)
    try:
        process.event("mock.listening")
        (first,) = children(process.pid)
        eventually(lambda: len(children(first)), lambda count: count == 1)
    finally:
        process.kill_all()


def test_its_exit_code(tmp_path: Path) -> None:
    """Also that of a command that can't start."""
    prefix = first_of_namespace()
    process = Process("invoker", {"INVOKER_PORT": "x"}, prefix=prefix)
    try:
        assert process.wait() == 2
        assert process.stderr.count("\n") == 1
    finally:
        process.kill_all()


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
