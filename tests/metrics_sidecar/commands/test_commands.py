"""The commands that work on a data directory: what they print, and their exit codes."""

import contextlib
import gzip
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from metrics_sidecar.__main__ import cli
from metrics_sidecar.settings import HISTORY_FILE
from shared.record import Record
from shared.settings import run_command
from tests.metrics_sidecar.files.stores import export, fill, lines

ROWS = [Record("a", 1_000_000, 5), Record("b", 2_000_000, 5), Record("a", 3_500_000, 5)]


class Command:
    """Runs `metrics-sidecar` in this process, on a history of three rows."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[bytes]) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._printed = printed
        fill(directory, ROWS)

    def __call__(self, *arguments: object) -> tuple[int, bytes, str]:
        """Exit code, stdout, stderr."""
        command = ["metrics-sidecar", *map(str, arguments), "--data-dir", str(self.directory)]
        self._monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as exited:
            run_command(cli)
        printed = self._printed.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, printed.out, printed.err.decode()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    return Command(tmp_path / "data", monkeypatch, capfdbinary)


def test_an_export_to_stdout(run: Command) -> None:
    """Nothing else is printed there."""
    exported = export(run.directory, "ndjson")
    assert run("export", "--format", "ndjson") == (0, exported, "3 rows exported\n")


def test_csv_for_excel(run: Command) -> None:
    """A byte order mark, and then what is there without; nothing else has one."""
    exported = export(run.directory, "csv")
    assert run("export", "--format", "csv", "--bom")[1] == b"\xef\xbb\xbf" + exported
    code, _, told = run("export", "--format", "ndjson", "--bom")
    assert (code, "--bom is for CSV, not for ndjson" in told) == (2, True)


@pytest.mark.parametrize("name", ["x.ndjson", "x.jsonl", "x.csv", "x.ndjson.gz", "x.csv.gz", "X.CSV", "x.NDJSON.GZ"])
def test_the_name_tells_the_format(run: Command, tmp_path: Path, name: str) -> None:
    """And whether it is compressed; nothing else is left beside the file."""
    assert run("export", "-o", tmp_path / name) == (0, b"", "3 rows exported\n")
    content = (tmp_path / name).read_bytes()
    text = gzip.decompress(content) if name.lower().endswith(".gz") else content
    assert text == export(run.directory, "csv" if "csv" in name.lower() else "ndjson")
    assert {path.name for path in tmp_path.iterdir()} == {"data", name}


def test_a_filter_is_one_of_the_history(run: Command) -> None:
    """And what is wrong with it is told."""
    code, exported, _ = run("export", "--format", "ndjson", "--filter", "model_id=a&since=2")
    assert (code, [line["id"] for line in lines(exported)]) == (0, [3])
    assert run("export", "--format", "csv", "--filter", "status=maybe") == (
        2,
        b"",
        "metrics-sidecar: error: --filter: status is 'maybe'; allowed: failure or success.\n",
    )


def test_what_only_reads_changes_nothing(run: Command) -> None:
    """Neither the file nor what is beside it."""
    before = {path.name: path.read_bytes() for path in run.directory.iterdir()}
    for arguments in (("export", "--format", "csv"), ("info",), ("verify",)):
        assert run(*arguments)[0] == 0
        assert {path.name: path.read_bytes() for path in run.directory.iterdir()} == before


def test_info(run: Command) -> None:
    """All that is said is there as JSON, too."""
    code, text, _ = run("info")
    assert code == 0
    assert b"rows       3, and 0 removed by retention" in text
    assert b"times      1970-01-01T00:00:01Z to 1970-01-01T00:00:03.500000Z" in text
    found = json.loads(run("info", "--json")[1])
    assert (found["rows"], found["models"], found["producers"], found["missing"]) == (3, 2, 1, 0)
    assert found["bytes"] == sum(path.stat().st_size for path in run.directory.glob("history.db*"))
    assert (found["oldest_us"], found["newest_us"]) == (1_000_000, 3_500_000)


def test_compact(run: Command) -> None:
    """What was free in the file is free on the disk, and the rows are as they were."""
    more = [Record("c", n, n) for n in range(20_000)]
    fill(run.directory, more, "1" * 32)
    path = run.directory / HISTORY_FILE
    before, size = export(run.directory, "ndjson"), path.stat().st_size
    with_holes(path)
    code, told, _ = run("compact")
    # Before it, the ledger that filled it has told that its rows are of long ago.
    assert (code, told.splitlines()[-1]) == (
        0,
        f"{path}: {size:,} bytes before, {path.stat().st_size:,} after".encode(),
    )
    assert path.stat().st_size < size / 2
    assert export(run.directory, "ndjson") == b"".join(before.splitlines(True)[:3])


def with_holes(path: Path) -> None:
    """Remove most rows."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM invocations WHERE id > 3")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("export", "-o", "x"), "--format is needed: 'x' doesn't end in .csv, .ndjson, .jsonl, .parquet."),
        (("export",), "--format is needed: '-' doesn't end in .csv, .ndjson, .jsonl, .parquet."),
        (("export", "-o", "x.parquet.gz"), "'x.parquet.gz': Parquet is compressed itself."),
        (("export", "-o", "/nowhere/x.csv"), "/nowhere/x.csv can't be written: No such file or directory"),
        (("export", "-o", "x.csv.gz", "--format", "ndjson"), "--format ndjson contradicts 'x.csv.gz'."),
        (("import", "/"), "/ can't be imported: it is no file"),
        (("import", "/nowhere/x"), "/nowhere/x can't be imported: it is no file"),
    ],
)
def test_what_cant_be_done_is_one_line(run: Command, arguments: tuple[str, ...], why: str) -> None:
    """And exit code 2."""
    assert run(*arguments) == (2, b"", f"metrics-sidecar: error: {why}\n")


@pytest.mark.parametrize("arguments", [("export", "--format", "csv"), ("info",), ("compact",)])
def test_where_there_is_no_history_none_is_made(run: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It is told instead."""
    run.directory = tmp_path / "nothing"
    code, _, told = run(*arguments)
    assert (code, told.count("\n"), (tmp_path / "nothing").exists()) == (2, 1, False)
