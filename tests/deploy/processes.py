"""Real processes for tests: started, read until they have said something, and never left behind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

PROJECT = Path(__file__).parents[2]


class Running:
    """A process whose stdout and stderr are read line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []

    def until(self, pattern: str) -> "re.Match[str]":
        """The first further line that matches; fails if the output ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no {pattern!r} in:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Read the rest of the output; the exit code."""
        output, _ = self.process.communicate(timeout=60)
        self.lines.append(output)
        return self.process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.end()

    @property
    def output(self) -> str:
        return "".join(self.lines)


@contextlib.contextmanager
def running(
    *arguments: str, env: Mapping[str, str] = MappingProxyType({}), cwd: Path | None = None
) -> Iterator[Running]:
    """`python` with these arguments; killed with its process group at the end."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", **env},
        start_new_session=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command_lines_with(mark: str) -> list[str]:
    """The command lines of all living processes whose environment holds the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def wait_until_none_with(mark: str, timeout_s: float = 15.0) -> list[str]:
    """What is left after at most `timeout_s` of the processes whose environment holds the mark."""
    deadline = time.monotonic() + timeout_s
    while (left := command_lines_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
