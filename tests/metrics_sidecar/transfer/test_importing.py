"""Each row is added once, whatever is imported, how often, and in what order; what can't be read is told."""

import asyncio
from pathlib import Path

import pytest

from metrics_sidecar.queries import HistoryFilter
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.store.export import opened
from metrics_sidecar.store.queries import SqliteQueries
from metrics_sidecar.store.rollups import read_progress
from metrics_sidecar.store.sqlite import SqliteStore
from metrics_sidecar.transfer import reading
from metrics_sidecar.transfer.importing import importing
from metrics_sidecar.transfer.reading import read_file
from metrics_sidecar.windows import Window
from shared.clock import SystemClock
from shared.record import ErrorType, Record
from tests.metrics_sidecar.transfer.stores import add, export, fill, is_consistent, lines

ROWS = [Record(f"m{n % 7}", 1_000_000 + n, n, ErrorType.CONNECT if n % 5 == 0 else None) for n in range(20_000)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of some rows."""
    directory = tmp_path_factory.mktemp("source")
    fill(directory, ROWS)
    return directory


def summary(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_the_same_file_twice_adds_nothing(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does the same export in the other format."""
    assert add(tmp_path, export(source, "ndjson")) == 0
    assert summary(capsys) == "20,000 rows added, 0 known before, 0 bad"
    assert add(tmp_path, export(source, "ndjson"), export(source, "parquet")) == 0
    assert summary(capsys) == "0 rows added, 40,000 known before, 0 bad"
    assert is_consistent(tmp_path)


def test_exports_that_overlap(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Filtered ones leave holes, which are no missing records and may be filled later, in any order."""
    wanted = [
        HistoryFilter(models=("m3",)),
        HistoryFilter(status="failure"),
        HistoryFilter(since_us=1_005_000, until_us=1_015_000),
        HistoryFilter(),
    ]
    assert (
        add(tmp_path, *(export(source, "ndjson", one) for one in reversed(wanted[:3])), export(source, "ndjson")) == 0
    )
    assert summary(capsys).startswith("20,000 rows added")
    assert is_consistent(tmp_path)
    found = lines(export(tmp_path, "ndjson"))
    assert sorted(str(line["latency_ms"]) for line in found) == sorted(
        str(line["latency_ms"]) for line in lines(export(source, "ndjson"))
    )


def test_rows_of_several_stores(source: Path, tmp_path: Path) -> None:
    """Equal ids of different stores are different rows; so are those that were there before."""
    other = tmp_path / "other"
    fill(other, ROWS[:100])
    into = tmp_path / "into"
    fill(into, ROWS[:10])
    mixed = b"".join(
        line
        for pair in zip(
            export(source, "ndjson").splitlines(True), export(other, "ndjson").splitlines(True), strict=False
        )
        for line in pair
    )
    assert add(into, mixed) == 0
    assert len(lines(export(into, "ndjson"))) == 10 + 100 + 100
    assert is_consistent(into)


def test_a_store_takes_none_of_its_own_rows(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are there already; one that it never had is a mistake."""
    exported = export(source, "ndjson")
    assert add(source, exported) == 0
    assert summary(capsys) == "0 rows added, 20,000 known before, 0 bad"
    assert add(source, exported.splitlines()[0].replace(b'"id":1,', b'"id":20001,')) == 1
    assert "line 1: it is row 20001 of this very store, which has none of this id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"success":true', b'"success":false', "success and error_type contradict each other"),
        (b'"model_id":"m2"', b'"model_id":"__overflow__"', "model_id: '__overflow__' is reserved"),
        (b'"model_id":"m2"', b'"model_id":""', "model_id: '' is no model id"),
        (b'"error_type":null', b'"error_type":"other"', "Invalid enum value 'other'"),
        (b'"latency_ms":0.002', b'"latency_ms":-1', "Expected `int` >= 0"),
        (b'"latency_ms":0.002', b'"latency_ms":1e300', "latency_ms is 1e+300; allowed: up to 9223372036854775"),
        (b'"input_size":0', b'"input_size":-1', "Expected `int` >= 0"),
        (b'"store":"', b'"store":"x', "allowed: 32 hex digits"),
        (b'"timestamp":"1970-01-01T00:00:01.000002Z"', b'"timestamp":"1969-12-31T00:00:00Z"', "allowed: from 1970 on"),
        (b'"timestamp":"1970-01-01T00:00:01.000002Z"', b'"timestamp":"1970-01-01"', "timestamp"),
        (b'"output_size":0,', b"", "missing required field `output_size`"),
        (b"}", b"", "Input data was truncated"),
    ],
)
def test_a_bad_line_is_told_and_the_others_are_added(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], before: bytes, after: bytes, reason: str
) -> None:
    """By its number; the exit code is 1. Mended, it is added alone."""
    good = export(source, "ndjson").splitlines(True)[:5]
    bad = [*good[:2], good[2].replace(before, after), *good[3:]]
    assert bad != good
    assert add(tmp_path, b"".join(bad)) == 1
    told, last = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{tmp_path / 'import-0'}: line 3: ")
    assert reason in told
    assert last == "4 rows added, 0 known before, 1 bad"
    assert add(tmp_path, b"".join(good)) == 0
    assert summary(capsys) == "1 rows added, 4 known before, 0 bad"


@pytest.mark.parametrize("format_", ["ndjson.gz", "parquet"])
def test_a_file_that_is_cut_off(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str) -> None:
    """It is told, and the whole file then adds what is missing."""
    whole = export(source, "parquet") if format_ == "parquet" else export(source, "ndjson", gzip=True)
    assert add(tmp_path, whole[: len(whole) // 2]) == 1
    assert add(tmp_path, whole) == 0
    assert len(lines(export(tmp_path, "ndjson"))) == 20_000
    assert is_consistent(tmp_path)


def test_an_endless_line_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It isn't held in memory."""
    assert add(tmp_path, b"x" * (reading.MAX_LINE_BYTES + 1)) == 1
    assert "line 1 is longer than 1,048,576 bytes" in capsys.readouterr().err


def test_an_import_that_dies_goes_on_where_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is known, although its producer has not retired."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 1024 * 1024)
    path = tmp_path / "export"
    path.write_bytes(export(source, "ndjson"))

    def fail(number: int, reason: str) -> None:
        pytest.fail(f"line {number}: {reason}")

    async def die() -> None:
        async with importing(tmp_path / HISTORY_FILE, SystemClock(), 2000) as importer:
            await importer.add(next(iter(read_file(path, fail))), fail)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        asyncio.run(die())
    assert 0 < len(lines(export(tmp_path, "ndjson"))) < 20_000
    assert is_consistent(tmp_path)
    assert add(tmp_path, path.read_bytes()) == 0
    assert lines(export(tmp_path, "ndjson")) == lines(export(source, "ndjson"))
    assert is_consistent(tmp_path)


def window_of(directory: Path) -> dict[str, object]:
    """The statistics of all time, from rollups as far as there are any."""

    async def ask() -> dict[str, object]:
        queries = SqliteQueries(directory / HISTORY_FILE)
        try:
            return {**(await queries.window(Window(0, 10**15), [])).stats}
        finally:
            queries.close()

    return asyncio.run(ask())


def roll_up(directory: Path) -> int:
    """All that is left to do for the sidecar; how many rows are rolled up then."""
    store = SqliteStore(directory / HISTORY_FILE)
    while store.tend(10**15):
        pass
    store.close()
    with opened(directory / HISTORY_FILE) as connection:
        progress = read_progress(connection)
    assert progress.is_complete
    return progress.last_id


@pytest.mark.parametrize("rolled_up_before", [False, True])
def test_windows_are_right_once_they_are_rolled_up(source: Path, tmp_path: Path, rolled_up_before: bool) -> None:
    """Imported rows are rolled up by the sidecar, later, in slices; so are those that waited before them."""
    into, plain = tmp_path / "into", tmp_path / "plain"
    fill(into, ROWS[:9000])
    if rolled_up_before:
        roll_up(into)
    assert add(into, export(source, "ndjson", HistoryFilter(models=("m1",)))) == 0
    assert add(into, export(source, "ndjson")) == 0
    fill(plain, [*ROWS[:9000], *ROWS])
    roll_up(plain)
    expected = window_of(plain)
    assert len(expected) == 7
    assert roll_up(into) == 29_000
    assert window_of(into) == expected
