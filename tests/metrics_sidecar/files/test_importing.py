"""Each row is added once, whatever is imported, how often, and in what order; what can't be read is told."""

import asyncio
import gzip
import math
import signal
import tempfile
import zlib
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_sidecar.files import reading, unpacking
from metrics_sidecar.files.importing import History, Importer
from metrics_sidecar.files.line import NAMES, LineError, Records
from metrics_sidecar.files.reading import read_file, read_stream
from metrics_sidecar.history.aggregate import MEASURES, Ask
from metrics_sidecar.history.queries import HistoryFilter
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.windows import Window
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.export import opened
from metrics_sidecar.sqlite.reader import SqliteReader
from metrics_sidecar.sqlite.rollups import read_progress
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.record import MAX_ERROR_LOG_BYTES, MAX_TIMESTAMP_US, ErrorType, Record, check_model_id
from shared.wire import Batch, decode_to_sidecar, encode_batch, encode_record
from tests.metrics_sidecar.files.stores import add, export, fill, is_consistent, lines
from tests.metrics_sidecar.tables import rows_of

ROWS = [Record(f"m{n % 7}", 1_000_000 + n, n, ErrorType.CONNECT if n % 5 == 0 else None) for n in range(20_000)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of some rows."""
    directory = tmp_path_factory.mktemp("source")
    fill(directory, ROWS)
    return directory


def fail(number: int, reason: str) -> None:
    pytest.fail(f"line {number}: {reason}")


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


SUCCESS = b'"success":true,"latency_ms":0.002,"error_log":"","input_size":0,"output_size":0,"error_type":null'
FAILURE = SUCCESS.replace(b"true", b"false").replace(b'""', b'"%s"').replace(b"null", b'"timeout"')


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"success":true', b'"success":false', "success and error_type contradict each other"),
        (b'"model_id":"m2"', b'"model_id":"__overflow__"', "model_id: '__overflow__' is reserved"),
        (b'"model_id":"m2"', b'"model_id":""', "model_id: '' is no model id"),
        (b'"error_type":null', b'"error_type":"Other"', "Expected `str` matching regex"),
        (b'"latency_ms":0.002', b'"latency_ms":-1', "Expected `int` >= 0"),
        (b'"latency_ms":0.002', b'"latency_ms":1e300', "latency_ms is too large; allowed: up to 9223372036854774"),
        (b'"input_size":0', b'"input_size":-1', "Expected `int` >= 0"),
        (b'"store":"', b'"store":"x', "allowed: 32 hex digits"),
        (b'"timestamp":"1970-01-01T00:00:01.000002Z"', b'"timestamp":"1969-12-31T00:00:00Z"', "allowed: from 1970 on"),
        (b'"timestamp":"1970-01-01T00:00:01.000002Z"', b'"timestamp":"1970-01-01"', "timestamp"),
        (b"1970-01-01T00:00:01.000002Z", b"9999-12-31T23:59:59-10:00", "from 1970 on, to 9999-12-31T23:59:59.999999Z"),
        (b'"latency_ms":0.002', b'"latency_ms":1e307', "latency_ms is too large"),
        (b'"latency_ms":0.002', b'"latency_ms":9223372036854776', "latency_ms is too large"),
        (b'"error_log":""', b'"error_log":"x"', "a success has an error_log"),
        (SUCCESS, FAILURE % (b"\xc3\xa9" * 1025), "error_log has 2,050 bytes; allowed are 2,048"),
        (SUCCESS, FAILURE % (b"x" * 2049), "Expected `str` of length <= 2048"),
        (b'"model_id":"m2"', b'"model_id":"\xff"', "can't decode byte 0xff"),
        (b'"model_id":"m2"', b'"model_id":"\xed\xa0\x80"', "can't decode byte 0xed"),
        (b'"model_id":"m2"', b'"model_id":"\\ud800"', "utf-16"),
        (b'"model_id":"m2"', b'"model_id":"a\\u0000"', "is no model id"),
        (b'"model_id":"m2"', b'"model_id":"%s"' % (b"x" * 257), "is no model id"),
        (b'"trace_id":null', b'"trace_id":"%s"' % (b"A" * 32), "trace_id"),
        (b'"input_size":0', b'"input_size":9223372036854775808', "input_size"),
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


def test_a_bad_row_of_parquet_is_told(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one of NDJSON, whatever its columns can say that JSON can't."""
    path = tmp_path / "export.parquet"
    path.write_bytes(export(source, "parquet", HistoryFilter(until_us=1_000_005)))
    table = pq.read_table(path)
    for name, column in {
        "timestamp": pa.array([-1, 2, 3, 4, MAX_TIMESTAMP_US + 1], pa.timestamp("us", "UTC")),
        "latency_ms": pa.array([1, 2, math.inf, math.nan, 5]),
        "model_id": pa.array([b"a", b"\xff", b"c", b"d", b"e"]).view(pa.string()),
    }.items():
        changed = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(changed, path)
        assert add(tmp_path, path.read_bytes()) == 1
        told = [line.partition(": ")[2][:8] for line in capsys.readouterr().err.splitlines()[:-1]]
        expected = {"timestamp": [1, 5], "latency_ms": [4, 3], "model_id": [2]}[name]
        assert told == [f"line {number}: " for number in expected]
    assert is_consistent(tmp_path)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.datetimes()
texts = ["a", "a" * 257, "é" * 1024, "é" * 1025, "0" * 32, "F" * 32, "timeout", "__overflow__"]
times = ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-00:01", "1970-01-01T00:00:00+00:01"]
near = st.sampled_from([0, 1, 2**63 - 1, 2**63, 9.3e15, 1e307, *texts, *times])


@settings(max_examples=500)
@given(changes=st.dictionaries(st.sampled_from(NAMES), values | near, max_size=4), cut=st.binary(max_size=3))
def test_nothing_is_taken_that_no_gateway_could_send(changes: dict[str, object], cut: bytes) -> None:
    """Whatever a line says, it is told, or makes a record that the sidecar would read from its socket."""
    whole = {**GOOD, **changes}
    text = msgspec.json.encode(whole).replace(b"m2", b"m" + cut)
    bad: list[int] = []
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        found = [line for read in read_stream(file, lambda number, _: bad.append(number)) for line in read.lines]
    for line in found:
        try:
            record = Records().record(line)
        except LineError:
            bad.append(1)
            continue
        frame = encode_batch(1, [encode_record(record)])
        batch = decode_to_sidecar(frame[4:])
        assert isinstance(batch, Batch)
        assert batch.records == [record]
        assert check_model_id(record.model_id) is None
        assert len(record.error_log.encode()) <= (0 if record.success else MAX_ERROR_LOG_BYTES)
    assert len(found) + len(bad) >= 1


GOOD = {
    "id": 3,
    "model_id": "m2",
    "timestamp": "2026-01-01T00:00:00Z",
    "success": False,
    "latency_ms": 1.5,
    "error_log": "x",
    "input_size": 5,
    "output_size": 5,
    "error_type": "timeout",
    "trace_id": None,
    "store": "0" * 32,
}


@pytest.mark.parametrize("blocks", [2000, 30])
def test_what_was_read_before_a_gzip_file_is_cut_off_is_added(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], blocks: int
) -> None:
    """Up to its last whole line, whose number is told."""
    text = export(source, "ndjson")
    whole = gzip.compress(text)
    cut = whole[: -len(whole) // blocks]
    readable = zlib.decompressobj(zlib.MAX_WBITS + 16).decompress(cut).count(b"\n")
    assert 15_000 < readable < 20_000
    assert add(tmp_path, cut) == 1
    told, last = capsys.readouterr().err.splitlines()
    assert told.endswith(f"after line {readable}: it is cut off in the middle of its compression")
    assert last == f"{readable:,} rows added, 0 known before, 1 bad"


def test_several_gzip_files_in_one(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And zeros behind them. What else is behind them is told, when they are read; a line needs no end."""
    lines_ = export(source, "ndjson").splitlines(True)
    two = gzip.compress(b"".join(lines_[:9000])) + gzip.compress(b"".join(lines_[9000:])[:-1])
    assert add(tmp_path / "zeros", two + bytes(1000)) == 0
    assert summary(capsys) == "20,000 rows added, 0 known before, 0 bad"
    assert add(tmp_path / "junk", two + b"junk") == 1
    told, last = capsys.readouterr().err.splitlines()
    assert "after line 20000: its compression is damaged" in told
    assert last == "20,000 rows added, 0 known before, 1 bad"


def test_a_bom_is_no_part_of_a_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some editors and tools on Windows write one."""
    assert add(tmp_path, b"\xef\xbb\xbf" + export(source, "ndjson")) == 0
    assert summary(capsys) == "20,000 rows added, 0 known before, 0 bad"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", [False, True])
def test_csv_is_refused_in_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], packed: bool, header: bool
) -> None:
    """And no history is made for it."""
    exported = export(source, "csv", gzip=packed)
    if not header:
        text = gzip.decompress(exported) if packed else exported
        exported = text.partition(b"\n")[2]
    assert add(tmp_path, exported) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / 'import-0'}: CSV can't be imported, use NDJSON or Parquet",
        "0 rows added, 0 known before, 1 bad",
    ]
    assert not (tmp_path / HISTORY_FILE).exists()


def test_no_history_is_made_for_bad_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of whatever kind."""
    bad = msgspec.json.encode({**GOOD, "store": "x"})
    assert add(tmp_path, b"", b"nonsense", bad) == 1
    assert summary(capsys) == "0 rows added, 0 known before, 2 bad"
    assert not (tmp_path / HISTORY_FILE).exists()


def test_rows_that_are_too_old_are_told(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Retention has removed what was as old before; they are added, counted, and removed like that."""
    fill(tmp_path, ROWS[:1])
    store = SqliteWriter(tmp_path / HISTORY_FILE, retention=Retention(rows_us=3_600_000_000))
    while store.tend(10**14):
        pass
    store.close()
    assert add(tmp_path, export(source, "ndjson", HistoryFilter(models=("m1",)))) == 0
    assert capsys.readouterr().err.splitlines() == [
        "2,857 rows added, 0 known before, 0 bad",
        "2,857 of these are older than what this history keeps (from 1970-01-01T01:00:00Z) and will be removed",
    ]
    assert is_consistent(tmp_path)


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
    assert "after line 0: the next one is longer than 1,048,576 bytes" in capsys.readouterr().err


def test_an_import_that_dies_goes_on_where_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is known."""
    monkeypatch.setattr(unpacking, "CHUNK_BYTES", 1024 * 1024)
    path = tmp_path / "export"
    path.write_bytes(export(source, "ndjson"))

    importer = Importer(lambda: History(SqliteWriter(tmp_path / HISTORY_FILE), SystemClock(), 2000))
    importer.add(next(iter(read_file(path, fail))), fail)  # it isn't closed before all has been done again
    assert 0 < len(lines(export(tmp_path, "ndjson"))) < 20_000
    assert is_consistent(tmp_path)
    assert add(tmp_path, path.read_bytes()) == 0
    assert lines(export(tmp_path, "ndjson")) == lines(export(source, "ndjson"))
    assert is_consistent(tmp_path)
    importer.close()


def test_what_is_committed_before_an_interrupt_is_counted(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt comes between two batches, at whatever moment it is sent."""
    monkeypatch.setattr(unpacking, "CHUNK_BYTES", 1024 * 1024)
    commit = SqliteWriter.commit

    def interrupted(store: SqliteWriter, planned: Commit) -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return commit(store, planned)

    monkeypatch.setattr(SqliteWriter, "commit", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has none
    try:
        with pytest.raises(KeyboardInterrupt):
            add(tmp_path, export(source, "ndjson"))
    finally:
        signal.signal(signal.SIGINT, before)
    added = len(lines(export(tmp_path, "ndjson")))
    assert 0 < added < 20_000
    assert summary(capsys) == f"{added:,} rows added, 0 known before, 0 bad"


def test_a_row_that_is_in_a_file_twice_is_added_once(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where both are in one batch."""
    line = export(source, "ndjson").splitlines(True)[0]
    assert add(tmp_path, line * 3) == 0
    assert summary(capsys) == "1 rows added, 2 known before, 0 bad"
    assert is_consistent(tmp_path)


def test_an_import_is_no_producer(source: Path, tmp_path: Path) -> None:
    """Its rows are counted as what they are, and the books agree with it."""
    fill(tmp_path, ROWS[:100])
    assert add(tmp_path, export(source, "ndjson")) == 0
    snapshot = SqliteAudit(tmp_path / HISTORY_FILE)
    books = snapshot.reconcile(None)
    snapshot.close()
    assert books.consistent
    assert (books.checked.rows, books.checked.sequences, books.checked.imported) == (20_100, 100, 20_000)


def window_of(directory: Path) -> dict[str, object]:
    """The statistics of all time, from rollups as far as there are any."""

    async def ask() -> dict[str, object]:
        queries = SqliteReader(directory / HISTORY_FILE)
        try:
            ask = Ask(window=Window(0, 10**15), measures=MEASURES, percents=(50, 99), errors=True)
            return {group: figures for (group, _), figures in rows_of(await queries.aggregate(ask)).items()}
        finally:
            queries.close()

    return asyncio.run(ask())


def roll_up(directory: Path) -> int:
    """All that is left to do for the sidecar; how many rows are rolled up then."""
    store = SqliteWriter(directory / HISTORY_FILE)
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
