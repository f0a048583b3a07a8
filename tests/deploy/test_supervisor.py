"""Processes run together, stop together, and none is left behind, whoever dies first."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid

import pytest

from tests.deploy.processes import PROJECT, running, wait_until_none_with
from tests.tools import lack, require_tools

# Runs each argument as a process of its own, named a, b, …
DRIVER = """
import asyncio, os, shlex, sys
from deploy import supervisor
from deploy.supervisor import Supervisor
supervisor.KILL_WAIT_S = float(os.environ.get("KILL_WAIT_S", supervisor.KILL_WAIT_S))
commands = {
    name: f"{shlex.quote(sys.executable)} -u -c {shlex.quote(code)}"
    for name, code in zip("abc", sys.argv[1:], strict=False)
}
sys.exit(Supervisor(commands, os.environ, lambda: asyncio.sleep(60)).run())
"""

POLITE = """
import os, signal, sys
def stop(*_):
    print("bye")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("up", os.getpid())
while True:
    signal.pause()
"""
STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", os.getpid())
while True:
    signal.pause()
"""
FAILING = "import sys; print('no luck'); sys.exit(7)"
SILENT = "pass"
DYING_PARENT = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {POLITE!r}])
time.sleep(0.5)
sys.exit(3)
"""


@pytest.fixture
def mark() -> str:
    """Marks the environment of all processes of one test."""
    return uuid.uuid4().hex


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_requested_stop_ends_all_in_reverse_order_with_0(mark: str, number: signal.Signals) -> None:
    """What was started last has stopped before what it builds on is asked to."""
    with running("-c", DRIVER, POLITE, POLITE, env={"MARK": mark}) as supervisor:
        supervisor.until(r"\| up")
        supervisor.until(r"\| up")
        assert supervisor.stop(number) == 0
        said = [line.split(" ", 1)[1] for line in supervisor.output.splitlines()[2:]]
        assert [" ".join(line.split()) for line in said] == [
            "system | stopping",
            "b | bye",
            "system | b stopped",
            "a | bye",
            "system | a stopped",
        ]
    assert wait_until_none_with(mark) == []


@pytest.mark.parametrize(("code", "ended_with", "expected"), [(FAILING, 7, 7), (SILENT, 0, 1)])
def test_the_first_end_stops_all_with_its_exit_code(mark: str, code: str, ended_with: int, expected: int) -> None:
    """It is named; an end with 0 that nobody asked for is a failure too."""
    with running("-c", DRIVER, POLITE, code, env={"MARK": mark}) as supervisor:
        assert supervisor.end() == expected
        assert f"b ended with exit code {ended_with};" in supervisor.output
    assert wait_until_none_with(mark) == []


def test_killed_processes_are_reported_as_a_shell_does(mark: str) -> None:
    """128 and the signal's number."""
    with running("-c", DRIVER, POLITE, POLITE, env={"MARK": mark}) as supervisor:
        os.kill(int(supervisor.until(r"b +\| up (\d+)")[1]), signal.SIGKILL)
        assert supervisor.end() == 137
        assert "b ended with exit code 137; stopping the others" in supervisor.output
    assert wait_until_none_with(mark) == []


def test_a_dead_process_takes_its_children_along(mark: str) -> None:
    """A child that holds the output open doesn't hide that its parent has died."""
    with running("-c", DRIVER, POLITE, DYING_PARENT, env={"MARK": mark}) as supervisor:
        assert supervisor.end() == 3
    assert wait_until_none_with(mark) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_killed_supervisor_leaves_nothing_behind(mark: str) -> None:
    """Its processes get SIGTERM from the kernel."""
    with running("-c", DRIVER, POLITE, POLITE, env={"MARK": mark}) as supervisor:
        supervisor.until(r"\| up")
        supervisor.until(r"\| up")
        supervisor.process.kill()
        assert wait_until_none_with(mark) == []


def test_shared_memory_is_not_needed(mark: str) -> None:
    """Some containers have none that can be written."""
    require_tools("unshare", "mount")
    read_only = ["unshare", "--map-root-user", "--mount", "sh", "-c",
                 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', "sh"]  # fmt: skip
    tried = subprocess.run([*read_only, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        lack(f"mounts of one's own are not to be had here: {tried.stderr}")
    start = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    with running("-c", start, *read_only, sys.executable, "-c", DRIVER, FAILING, env={"MARK": mark}) as supervisor:
        assert supervisor.end() == 7
        assert "| no luck" in supervisor.output
    assert wait_until_none_with(mark) == []


def test_a_terminal_has_colours(mark: str) -> None:
    """A process's lines have its own; what the supervisor says has none."""
    ours, terminal = os.openpty()
    command = [sys.executable, "-c", DRIVER, POLITE, FAILING]
    with subprocess.Popen(
        command, stdout=terminal, env={**os.environ, "MARK": mark, "PYTHONPATH": str(PROJECT)}
    ) as one:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's other side is closed
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
        assert one.wait(20) == 7
    assert re.search(rb"\x1b\[33m\S+ b +\| \x1b\[0mno luck", shown)
    assert re.search(rb"^[\d:]+ system \| b ended", shown, re.MULTILINE)
    assert wait_until_none_with(mark) == []


def test_a_line_without_end_hides_no_other(mark: str) -> None:
    """It isn't shown whole; the next one is."""
    endless = "print('x' * 3_000_000); print('next'); print('last', end='')"
    with running("-c", DRIVER, endless, env={"MARK": mark}) as supervisor:
        assert supervisor.end() == 1
    shown = [line.partition("| ")[2] for line in supervisor.output.splitlines()]
    assert shown[-3:] == ["next", "last", "a ended with exit code 0; stopping the others"]
    assert len(supervisor.output) < 3_000_000


def test_a_process_that_ignores_the_request_is_killed(mark: str) -> None:
    """Past the time that it may take, for each and all; the others stop in good order."""
    with running("-c", DRIVER, STUBBORN, POLITE, env={"MARK": mark, "KILL_WAIT_S": "1"}) as supervisor:
        supervisor.until(r"\| up")
        supervisor.until(r"\| up")
        assert supervisor.stop() == 0
        assert re.search(r"b +\| bye\n.*b stopped\n.*a stopped", supervisor.output)
    assert wait_until_none_with(mark) == []


def test_a_supervisor_whose_output_nobody_reads_stops(mark: str) -> None:
    """And what it runs goes on until then: what isn't read is dropped."""
    talkative = "import os\nfor _ in range(3000): print('x' * 1000)\nos.kill(os.getppid(), 15)\n" + POLITE
    with running("-c", DRIVER, talkative, env={"MARK": mark}) as supervisor:
        assert supervisor.process.wait(60) == 0  # a pipe takes 64 KiB, and the supervisor keeps 1 MiB of 3
    assert wait_until_none_with(mark) == []
