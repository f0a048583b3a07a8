"""Runs the tests that belong to a file on a copy of the project in which the file has a fault."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SLOWER = 5.0
LEAST_S = 60.0
"""A run that takes so much longer than without the fault stands still, which is noticed as well as a failure."""


class Copy:
    """A copy of the project's files, for one fault after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, directory / name)

    def passes(self, tests: list[str], limit_s: float) -> bool:
        """Whether all of them pass in this time."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
        # A `.pyc` of the file without its fault could be as old and as long as the one with it.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(self._directory)}
        with (self._directory / "output").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self._directory, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                return process.wait(limit_s) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                _end(process)

    def baseline_s(self, tests: list[str]) -> float:
        """How long they take without a fault; AssertionError if they don't pass."""
        started = time.monotonic()
        if not self.passes(tests, 600.0):
            raise AssertionError(f"{' '.join(tests)} fail as it is:\n{(self._directory / 'output').read_text()}")
        return time.monotonic() - started

    def survives(self, file: str, faulty: str, tests: list[str], baseline_s: float) -> bool:
        """Whether the tests pass although the file says this."""
        path = self._directory / file
        original = path.read_text(encoding="utf-8")
        path.write_text(faulty, encoding="utf-8")
        try:
            return self.passes(tests, LEAST_S + SLOWER * baseline_s)
        finally:
            path.write_text(original, encoding="utf-8")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
