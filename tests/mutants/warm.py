"""Runs tests again and again, each time in a fork of a process that has pytest and the libraries already: to import
them takes longer than most tests.

A line on stdin names a file for the output, and tests. The answers are the id of their process, which leads a group,
and at its end its exit code.
"""

import contextlib
import importlib
import io
import os
import sys

import pytest

PYTEST = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
"""Without the plugin that alone takes seconds to import."""
LIBRARIES = ("aiohttp.test_utils", "aiohttp.web", "click", "httptools", "hypothesis.strategies", "msgspec", "sqlite3")


def main() -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([*PYTEST, "--collect-only", os.devnull])  # so that plugins are there as pytest itself imports them
    for library in LIBRARIES:
        importlib.import_module(library)
    for line in sys.stdin:
        output, *tests = line.split()
        pid = os.fork()
        if pid == 0:
            _run(output, tests)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(output: str, tests: list[str]) -> None:
    code = 1
    try:
        os.setsid()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, opened in enumerate((os.open(os.devnull, os.O_RDONLY), file, file)):
            os.dup2(opened, number)
        code = pytest.main([*PYTEST, *tests])
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
