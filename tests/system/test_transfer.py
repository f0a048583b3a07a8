"""Exports and imports as they are called: over HTTP and as commands."""

import contextlib
import fcntl
import gzip
import json
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.record import Record
from tests.metrics_sidecar.files.stores import fill
from tests.processes import System, children, eventually, system

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def run(*arguments: object, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of `metrics-sidecar` with these arguments."""
    command = [sys.executable, "-W", "error", "-m", "metrics_sidecar", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def fetch(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
        body: bytes = response.read()
        return body


def without_store(exported: bytes) -> list[dict[str, object]]:
    return [{**json.loads(line), "store": ""} for line in exported.splitlines()]


def test_there_and_back(started: System, tmp_path: Path) -> None:
    """What is exported over HTTP, through the gateway, and offline is the same; imported into a new directory and
    exported again it is the same, too, and the books agree."""
    started.start_mock(MOCK_FAILURE_RATE="0.3")
    sidecar = started.start_sidecar()
    started.start_gateway()
    for number in range(50):
        started.invoke(f"=model-{number % 3}", ["a"] * number)
    started.settled("=model-0", 17)
    started.settled("=model-1", 17)
    started.settled("=model-2", 16)
    exported = fetch(f"{started.sidecar_url}/metrics/export")
    assert len(without_store(exported)) == 50
    url = f"{started.gateway_url}/metrics/export?format=ndjson"
    assert gzip.decompress(fetch(url, **{"Accept-Encoding": "gzip"})) == exported
    assert run("export", "--data-dir", started.data, "--format", "ndjson")[:2] == (0, exported)
    parquet = tmp_path / "export.parquet"
    parquet.write_bytes(fetch(f"{started.sidecar_url}/metrics/export?format=parquet"))

    new = tmp_path / "new"
    code, _, told = run("import", "--data-dir", new, parquet, "-", stdin=exported)
    assert (code, told) == (0, "50 rows added, 50 known before, 0 bad\n")
    again = tmp_path / "again.ndjson.gz"
    assert run("export", "--data-dir", new, "--output", again) == (0, b"", "50 rows exported\n")
    assert without_store(gzip.decompress(again.read_bytes())) == without_store(exported)
    code, told_b, _ = run("verify", "--data-dir", new)
    assert (code, b"consistent" in told_b, b"missing    none" in told_b) == (0, True, True)
    sidecar.stop()
    started.data = new
    started.start_sidecar()
    assert fetch(f"{started.sidecar_url}/metrics/export") == gzip.decompress(again.read_bytes())
    assert started.stats("=model-0")["total_invocations"] == 17


def test_beside_a_sidecar(started: System, tmp_path: Path) -> None:
    """What only reads may run; what writes is refused. Killed in the middle, nothing is held afterwards."""
    sidecar = started.start_sidecar()
    export = tmp_path / "export.ndjson"
    export.write_bytes(b"")
    for arguments in (("import", export), ("compact",)):
        code, _, told = run(*arguments, "--data-dir", started.data)
        assert (code, told.count("\n"), "another sidecar uses" in told) == (2, 1, True)
    assert run("info", "--data-dir", started.data)[0] == 0
    sidecar.signal(signal.SIGKILL)
    sidecar.wait()
    assert run("import", export, "--data-dir", started.data)[0] == 0


def test_an_export_ends_with_its_caller(started: System) -> None:
    """When the connection is closed in the middle, the process that reads for it is gone, too."""
    now_us = time.time_ns() // 1000  # retention would remove old ones
    fill(started.data, [Record("model", now_us, n) for n in range(40_000)])
    sidecar = started.start_sidecar()
    before = running(sidecar.pid)
    with urllib.request.urlopen(f"{started.sidecar_url}/metrics/export") as response:
        assert response.read(1000).startswith(b'{"id":1,')
        assert len(running(sidecar.pid)) == len(before) + 1
    eventually(lambda: running(sidecar.pid), lambda pids: pids == before)
    assert sum(1 for _ in fetch(f"{started.sidecar_url}/metrics/export").splitlines()) == 40_000


def running(pid: int) -> set[int]:
    """Processes that read a history for this one."""
    found = set()
    for child in children(pid):
        with contextlib.suppress(FileNotFoundError):
            if b"sqlite.reading" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A data directory with more rows than an import reads at once."""
    fill(tmp_path / "filled", [Record(f"m{n % 7}", 1_700_000_000_000_000 + n, n) for n in range(60_000)])
    return tmp_path / "filled"


def test_what_comes_through_a_pipe(tmp_path: Path) -> None:
    """From stdin or one with a name: it is told by how it begins, as a file is; Parquet can't be read so."""
    fill(tmp_path / "few", [Record("model", n, n) for n in range(50)])
    _, exported, _ = run("export", "--data-dir", tmp_path / "few", "--format", "ndjson")
    _, parquet, _ = run("export", "--data-dir", tmp_path / "few", "--format", "parquet")
    new = tmp_path / "new"
    assert run("import", "--data-dir", new, "-", stdin=parquet) == (
        1,
        b"",
        "-: Parquet can't be imported from a pipe: give the name of its file\n0 rows added, 0 known before, 1 bad\n",
    )
    assert not (new / "history.db").exists()
    code, _, told = run("import", "--data-dir", new, "-", stdin=gzip.compress(exported))
    assert (code, told) == (0, "50 rows added, 0 known before, 0 bad\n")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"cat > {fifo}"], stdin=subprocess.PIPE) as writer:
        assert writer.stdin
        writer.stdin.write(exported)
        writer.stdin.close()
        code, _, told = run("import", "--data-dir", new, fifo)
    assert (code, told) == (0, "0 rows added, 50 known before, 0 bad\n")


def test_ctrl_c_ends_an_import(filled: Path, tmp_path: Path) -> None:
    """Also while it waits for a pipe. What is told to be added is what is there, and the rest can be added later."""
    _, exported, _ = run("export", "--data-dir", filled, "--format", "ndjson")
    new = tmp_path / "new"
    with started_command("import", "--data-dir", new, "-", stdin=subprocess.PIPE) as importing:
        assert importing.stdin
        importing.stdin.write(exported[:-1000])
        importing.stdin.flush()
        eventually(lambda: count_rows(new), lambda count: count > 0)
        importing.send_signal(signal.SIGINT)
        assert importing.wait(10) == 130
        assert importing.stderr
        told = importing.stderr.read().decode().split("\n")
    rows = count_rows(new)
    assert told[:2] == [
        "interrupted; what is added stays, and the same command goes on behind it",
        f"{rows:,} rows added, 0 known before, 0 bad",
    ]
    code, _, said = run("import", "--data-dir", new, "-", stdin=exported)
    assert (code, said) == (0, f"{60_000 - rows:,} rows added, {rows:,} known before, 0 bad\n")


def test_a_reader_that_goes_ends_an_export(filled: Path) -> None:
    """As other tools end: without a word, and with what a shell says of a broken pipe."""
    with started_command("export", "--data-dir", filled, "--format", "ndjson", stdout=subprocess.PIPE) as exporting:
        assert exporting.stdout
        assert exporting.stdout.read(1) == b"{"
        exporting.stdout.close()
        assert exporting.wait(20) == 128 + signal.SIGPIPE
        assert exporting.stderr
        assert exporting.stderr.read() == b""


def test_a_disk_that_is_full_is_told(filled: Path) -> None:
    """In one line."""
    with (
        Path("/dev/full").open("wb") as full,
        started_command("export", "--data-dir", filled, "--format", "ndjson", stdout=full) as exporting,
    ):
        assert exporting.wait(20) == 2
        assert exporting.stderr
        told = exporting.stderr.read()
    assert told == b"metrics-sidecar: error: - can't be written: No space left on device\n"


def test_an_export_keeps_no_log_from_shrinking(filled: Path) -> None:
    """Beside a process that writes to the history, however long it waits for its reader."""
    with contextlib.closing(sqlite3.connect(filled / "history.db", isolation_level=None)) as writer:
        writer.execute("SELECT * FROM meta").fetchall()  # only now it has the file open
        for begun in (False, True):  # without anything in the log when it begins, and with
            if begun:
                writer.execute("UPDATE meta SET value = value")
            with started_command(
                "export", "--data-dir", filled, "--format", "ndjson", stdout=subprocess.PIPE
            ) as exporting:
                assert exporting.stdout
                exported = exporting.stdout.read(1000)
                writer.execute("DELETE FROM invocations WHERE id > 59000")
                assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
                exported += exporting.stdout.read()
                assert exporting.wait(20) == 0
            assert exported.count(b"\n") == 59_000


def test_bars_on_a_terminal(filled: Path, tmp_path: Path) -> None:
    """Each says of what there is how much; where it isn't known how much there is, how much was done."""
    file = tmp_path / "[b]{x}.ndjson"
    for arguments, told in (
        (("verify", "--data-dir", filled), "60,000 of 60,000 rows"),
        (("export", "--data-dir", filled, "-o", file), "100% 60,000 rows"),
        (("import", "--data-dir", tmp_path / "new", file), "import [b]{x}.ndjson"),
        (("import", "--data-dir", tmp_path / "new", file), "100% 60,000 rows"),
        (("compact", "--data-dir", filled), "bytes written"),
    ):
        assert told in on_terminal(*arguments)
    shown = on_terminal("import", "--data-dir", tmp_path / "new", "-", stdin=file)
    assert "% 60,000 rows" in shown  # a file, although it has no name
    with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as pipe:
        shown = on_terminal("import", "--data-dir", tmp_path / "new", "-", stdin=pipe.stdout)
    assert "60,000 rows" in shown
    assert "%" not in shown


def on_terminal(*arguments: object, stdin: Any = None) -> str:
    """What `metrics-sidecar` with these arguments shows on one."""
    mine, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    command = [sys.executable, "-W", "error", "-m", "metrics_sidecar", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    shown = b""
    with contextlib.ExitStack() as stack:
        if isinstance(stdin, Path):
            stdin = stack.enter_context(stdin.open("rb"))
        with subprocess.Popen(
            command, cwd=ROOT, stdin=stdin, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
        ) as process:
            os.close(theirs)
            with contextlib.suppress(OSError):  # the terminal is gone with its last user
                while part := os.read(mine, 65536):
                    shown += part
            assert process.wait(20) == 0
    os.close(mine)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def count_rows(directory: Path) -> int:
    """Those that are committed."""
    code, found, _ = run("info", "--data-dir", directory, "--json")
    return 0 if code else int(json.loads(found)["rows"])


@contextlib.contextmanager
def started_command(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`metrics-sidecar` with these arguments, while it runs."""
    command = [sys.executable, "-W", "error", "-m", "metrics_sidecar", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()
