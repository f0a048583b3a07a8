"""An import is the inverse of an export, whatever the rows say."""

import contextlib
import csv
import gzip
import io
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_sidecar.files.formats import FORMULA_STARTS
from metrics_sidecar.files.line import NAMES
from metrics_sidecar.history.exports import Format
from metrics_sidecar.history.queries import HistoryFilter
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.export import SLICE_IDS, opened, read_slices
from shared.record import MAX_COUNT, MAX_TIMESTAMP_US, OVERFLOW_MODEL_ID, ErrorType, Record, clip_error_log
from tests.metrics_sidecar.files.stores import add, export, fill, is_consistent, lines

EXACT_LATENCY_US = 2**51

nasty = st.sampled_from(
    ['"', "'", ",", ";", "\n", "\r\n", "\t", "\0", "\u2028", "😀", "=1+1", "@SUM(A1)", "-2", "＝", "\\", "a"]
)
texts = st.lists(nasty | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=8).map("".join)
model_ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256).filter(
    lambda name: name != OVERFLOW_MODEL_ID
) | st.sampled_from(["=cmd|' /C calc'!A0", "+1", "-1", "@x", 'a"b', "a,b", "😀", "gpt-3.5"])
error_logs = texts.map(clip_error_log) | st.just("x" * 2048) | st.just("=" * 2048)

words = st.none() | st.sampled_from(["worklet", "openai", "chat"])
counts = st.none() | st.integers(0, MAX_COUNT)
tag_values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64)


@st.composite
def records(draw: st.DrawFn) -> Record:
    error_type = draw(st.none() | st.sampled_from(ErrorType))
    return Record(
        draw(model_ids),
        draw(st.integers(0, MAX_TIMESTAMP_US)),
        draw(st.integers(0, EXACT_LATENCY_US) | st.sampled_from([0, 1, 999, 1000, 35_567])),
        error_type,
        draw(error_logs) if error_type else "",
        draw(st.integers(0, MAX_COUNT)),
        draw(st.integers(0, MAX_COUNT)),
        draw(st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)),
        protocol=draw(words),
        operation=draw(words),
        streamed=draw(st.none() | st.booleans()),
        upstream=draw(st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)),
        status_code=draw(st.none() | st.integers(100, 599)),
        attempts=draw(counts),
        fallback_from=draw(st.none() | model_ids),
        time_to_first_token_us=draw(st.none() | st.integers(0, EXACT_LATENCY_US)),
        time_per_output_token_us=draw(st.none() | st.integers(0, EXACT_LATENCY_US)),
        queue_us=draw(st.none() | st.integers(0, EXACT_LATENCY_US)),
        input_tokens=draw(counts),
        cached_input_tokens=draw(counts),
        output_tokens=draw(counts),
        reasoning_tokens=draw(counts),
        cost_nano_usd=draw(counts | st.sampled_from([0, 1, 1_000_000_000, 1_500_000_000])),
        tags=draw(st.none() | st.dictionaries(st.text("ab-_9", min_size=1, max_size=64), tag_values, max_size=8)),
    )


EVERY_KIND = [
    Record("=cmd|' /C calc'!A0", 0, 0, ErrorType.TIMEOUT, '=1+1\r\n"quoted", 😀\t;\0' + "é" * 900, 0, MAX_COUNT),
    Record("a" * 256, MAX_TIMESTAMP_US, 35_567, ErrorType.GATEWAY_DIED, "", 1, 2, "4bf92f3577b34da6a3ce929d0e0e4736"),
    Record("😀", 1_705_314_600_000_000, EXACT_LATENCY_US, None, "", 5, 5),
]


@pytest.mark.parametrize("format_", ["ndjson", "parquet"])
@settings(max_examples=15)
@given(rows=st.lists(records(), min_size=1, max_size=20))
def test_an_export_of_an_import_is_the_same(format_: Format, rows: list[Record]) -> None:
    """Byte for byte, but for the id of the store."""
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "first", Path(name) / "second"
        fill(first, [*EVERY_KIND, *rows])
        exported = export(first, format_)
        assert add(second, exported) == 0
        assert lines(export(second, "ndjson")) == lines(export(first, "ndjson"))
        assert is_consistent(second)


def test_a_compressed_export_is_imported(tmp_path: Path) -> None:
    """It is the same text, and told by how it begins."""
    fill(tmp_path / "first", EVERY_KIND)
    exported = export(tmp_path / "first", "ndjson", gzip=True)
    assert gzip.decompress(exported) == export(tmp_path / "first", "ndjson")
    assert add(tmp_path / "second", exported) == 0
    assert lines(export(tmp_path / "second", "ndjson")) == lines(export(tmp_path / "first", "ndjson"))


@settings(max_examples=25)
@given(rows=st.lists(records(), max_size=5))
def test_a_spreadsheet_finds_no_formula(rows: list[Record]) -> None:
    """A cell that would be one begins with an apostrophe; all else is as it was, and numbers are numbers."""
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), [*EVERY_KIND, *rows])
        text = export(Path(name), "csv").decode()
        plain = lines(export(Path(name), "ndjson"))
    header, *cells = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == [*NAMES]
    assert not [cell for row in cells for cell in row if cell.startswith(FORMULA_STARTS)]
    for row, expected in zip(cells, plain, strict=True):
        shown = dict(zip(NAMES, row, strict=True))
        for column in ("model_id", "error_log"):
            before = str(expected[column])
            assert shown[column] == (f"'{before}" if before.startswith(FORMULA_STARTS) else before)
        assert int(shown["id"]) == expected["id"]
        assert float(shown["latency_ms"]) == expected["latency_ms"]
    assert text.count("\r\n") >= len(cells) + 1


def test_an_export_of_nothing(tmp_path: Path) -> None:
    """No line; a header for CSV; a whole file of no rows for Parquet, which can be imported."""
    fill(tmp_path / "first", [])
    assert export(tmp_path / "first", "ndjson") == b""
    assert export(tmp_path / "first", "csv").decode() == ",".join(f'"{name}"' for name in NAMES) + "\r\n"
    assert add(tmp_path / "second", export(tmp_path / "first", "parquet")) == 0


def test_only_what_the_filter_matches(tmp_path: Path) -> None:
    """By models, errors and time, in the order in which it was committed, whatever the times are."""
    rows = [Record(f"m{n % 3}", (n * 7919) % 20_000, 5, ErrorType.TIMEOUT if n % 2 else None) for n in range(10_000)]
    fill(tmp_path, rows)
    for wanted, matches in (
        (HistoryFilter(models=("m1",)), lambda row: row.model_id == "m1"),
        (HistoryFilter(models=("m1",), status="failure"), lambda row: row.model_id == "m1" and row.error_type),
        (HistoryFilter(since_us=500, until_us=700), lambda row: 500 <= row.timestamp_us < 700),
        (HistoryFilter(since_us=30_000), lambda row: False),
        (HistoryFilter(prefixes=("x",)), lambda row: False),
    ):
        expected = [number for number, row in enumerate(rows, 1) if matches(row)]
        assert [line["id"] for line in lines(export(tmp_path, "ndjson", wanted))] == expected


def test_an_export_is_of_the_moment_when_it_began(tmp_path: Path) -> None:
    """What is committed later is not in it, nor what was removed before its turn; all else is, once; and no
    transaction is left open meanwhile, which would keep the log from being copied into the file."""
    fill(tmp_path, [Record("a", n, n) for n in range(2 * SLICE_IDS + 100)])
    with opened(tmp_path / HISTORY_FILE) as connection:
        slices = read_slices(connection, HistoryFilter())
        ids = [row[0] for row in next(slices).rows]
        assert not connection.in_transaction
        fill(tmp_path, [Record("b", n, n) for n in range(100)], "1" * 32)
        with contextlib.closing(sqlite3.connect(tmp_path / HISTORY_FILE, isolation_level=None)) as other:
            other.execute("DELETE FROM invocations WHERE id <= ?", (SLICE_IDS + 50,))
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        ids += [row[0] for read in slices for row in read.rows]
    assert ids == [*range(1, SLICE_IDS + 1), *range(SLICE_IDS + 51, 2 * SLICE_IDS + 101)]
