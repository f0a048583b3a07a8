"""Runs the tests that belong to a file on a copy of the project in which the file has a fault."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SLOWER = 5.0
LEAST_S = 20.0
"""A run that takes so much longer than without the fault stands still, which is noticed as well as a failure."""


class Copy:
    """A copy of the project's files, for one fault after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written_s = 0
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
        self._runner = subprocess.Popen(
            [sys.executable, "-P", "tests/mutants/warm.py"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what was not read yet must show in `select`
        )

    def passes(self, tests: list[str], limit_s: float) -> bool:
        """Whether all of them pass in this time."""
        asked, answers = self._runner.stdin, self._runner.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{self._directory / 'output'} {' '.join(tests)}\n".encode())
        pid = int(answers.readline())
        ended, _, _ = select.select([answers], [], [], limit_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with all that it has started
        return int(answers.readline()) == 0 and bool(ended)

    def close(self) -> None:
        self._runner.kill()
        self._runner.communicate()

    def baseline_s(self, tests: list[str]) -> float:
        """How long they take without a fault; AssertionError if they don't pass."""
        started = time.monotonic()
        if not self.passes(tests, 600.0):
            raise AssertionError(f"{' '.join(tests)} fail as it is:\n{(self._directory / 'output').read_text()}")
        return time.monotonic() - started

    def survives(self, file: str, faulty: str, tests: list[str], baseline_s: float) -> bool:
        """Whether the tests pass although the file says this."""
        original = (self._directory / file).read_text(encoding="utf-8")
        self._write(file, faulty)
        try:
            return self.passes(tests, LEAST_S + SLOWER * baseline_s)
        finally:
            self._write(file, original)

    def _write(self, file: str, source: str) -> None:
        """With a time that it never had: by that and its length Python tells whether a `.pyc` is of this source."""
        path = self._directory / file
        path.write_text(source, encoding="utf-8")
        self._written_s += 1
        os.utime(path, (self._written_s, self._written_s))
