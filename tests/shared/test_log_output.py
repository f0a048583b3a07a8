"""Whoever writes a line never waits for whoever reads it."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.log_output import MAX_WAITING_BYTES, LineOutput

LINE = "x" * 1000


def pipe() -> tuple[int, int]:
    return os.pipe()


def stream() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def read_available(descriptor: int) -> bytes:
    """All that comes, until nothing more does."""
    parts = []
    while select.select([descriptor], [], [], 0.5)[0] and (part := os.read(descriptor, 65536)):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("make", [pipe, stream])
def test_what_nobody_reads_is_kept_up_to_a_bound(make: Callable[[], tuple[int, int]], threaded: bool) -> None:
    """Then it is dropped and counted; what was kept comes whole and in order once it is read, and then the count."""
    reader, writer = make()
    told: list[int] = []
    output = LineOutput(writer, told.append)
    if threaded:
        output.start()
    count = 2 * MAX_WAITING_BYTES // len(LINE)
    for number in range(count):
        output.write(f"{number} {LINE}")
    stalled = [output.is_stalled]
    assert told == []
    received = b""
    while not told:
        received += read_available(reader)
        output.pump()
    received += read_available(reader)
    kept = [int(line.partition(b" ")[0]) for line in received.splitlines()]
    assert kept == sorted({*kept})  # the thread may make room in between
    assert told == [output.dropped] == [count - len(kept)]
    assert [*stalled, output.is_stalled] == [True, False]
    output.close()
    os.close(reader)
    os.close(writer)


def test_the_descriptor_stays_as_it_is() -> None:
    """Other processes share it."""
    reader, writer = pipe()
    output = LineOutput(writer, lambda _count: None)
    output.write("a")
    assert os.get_blocking(writer)
    assert os.read(reader, 100) == b"a\n"
    os.close(reader)
    output.write("b")  # nobody is left, which is no error
    output.close()
    os.close(writer)


def test_a_file_gets_all(tmp_path: Path) -> None:
    """It is appended to, wherever it is at."""
    with (tmp_path / "log").open("ab") as file:
        output = LineOutput(file.fileno(), lambda _count: None)
        output.write("é\udcff")
        output.flush(1.0)
    assert (tmp_path / "log").read_bytes() == "é\\udcff\n".encode()


CRASHES = {
    "raise ValueError('broken')": "process.crashed",
    "import threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()": "thread_lost",
    "class A:\n    def __del__(self): 1 / 0\nA()": "exception_ignored",
}


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("code", CRASHES)
def test_a_crash_is_told_with_its_traceback(code: str, threaded: bool) -> None:
    """And what came before it."""
    start = "logs.start_writer()\n" if threaded else ""
    program = f"from shared import logs\nlogs.configure('text', 'info')\n{start}logs.get('a').info('before')\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert "before" in done.stderr.splitlines()[0]
    assert CRASHES[code] in done.stderr
    assert "Traceback (most recent call last)" in done.stderr
    assert done.returncode == (1 if "raise" in code else 0)


@pytest.mark.parametrize("threaded", [False, True])
def test_a_process_whose_last_lines_nobody_reads_ends(threaded: bool) -> None:
    """After a second; with its exit code, or the line that says why it can't start."""
    reader, writer = pipe()
    os.set_blocking(writer, False)
    os.write(writer, bytes(65536))
    os.set_blocking(writer, True)
    start = "logs.start_writer()" if threaded else ""
    program = f"from shared import logs\nlogs.configure('text', 'info')\n{start}\nlogs.tell('no')\nraise SystemExit(2)"
    with subprocess.Popen([sys.executable, "-c", program], stderr=writer) as process:
        assert process.wait(20) == 2
    os.close(reader)
    os.close(writer)
