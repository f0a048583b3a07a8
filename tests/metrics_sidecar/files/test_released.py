"""Files that the last release exported are imported by this one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.metrics_sidecar.files.stores import add, export, is_consistent, lines
from tests.released import NDJSON, PARQUET, RECORD_COUNT


@pytest.mark.parametrize("exported", [NDJSON, PARQUET], ids=["ndjson", "parquet"])
def test_an_export_of_the_last_release_is_imported(tmp_path: Path, exported: bytes) -> None:
    """Each row of it once, with all that it says; what that release did not know has its default."""
    assert add(tmp_path, exported) == 0
    expected, found = lines(NDJSON), lines(export(tmp_path, "ndjson"))
    assert len(found) == RECORD_COUNT
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert is_consistent(tmp_path)
    assert add(tmp_path, exported) == 0
    assert lines(export(tmp_path, "ndjson")) == found


LATER: list[dict[str, Any]] = [
    # what a line of a later release may say, beside all that is known here
    {"region": "eu", "marks": {"team": "a"}, "weight": None},
    {"region": "eu", "marks": None, "weight": None},
    {"region": None, "marks": {"team": "b"}, "weight": None},
]
LEFT_OUT = "columns that this release doesn't know are left out: marks (2 rows), region (2 rows)\n"


def later_ndjson() -> bytes:
    lines = [msgspec.json.decode(line) for line in NDJSON.splitlines()]
    more = [*LATER, *({} for _ in lines)]
    return b"\n".join(msgspec.json.encode({**extra, **line}) for line, extra in zip(lines, more, strict=False))


def later_parquet() -> bytes:
    table = pq.read_table(pa.BufferReader(PARQUET))
    rows = [*LATER, *({} for _ in range(RECORD_COUNT - len(LATER)))]
    types = {"region": pa.string(), "marks": pa.map_(pa.string(), pa.string()), "weight": pa.float64()}
    for name, type_ in types.items():
        values = [row.get(name) for row in rows]
        entries = [list(value.items()) if isinstance(value, dict) else value for value in values]
        table = table.append_column(name, pa.array(entries, type_))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("later", [later_ndjson, later_parquet])
def test_an_export_of_a_later_release_keeps_what_is_known(
    tmp_path: Path, later: Callable[[], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is said in a line, and of how many rows, what is left out; columns that say nothing are not."""
    assert add(tmp_path, later()) == 0
    told = capsys.readouterr().err
    assert f"{RECORD_COUNT} rows added, 0 known before, 0 bad\n" in told
    left_out = [line for line in told.splitlines(keepends=True) if "left out" in line]
    assert left_out == [LEFT_OUT]
    assert [{name: row[name] for name in lines(NDJSON)[0]} for row in lines(export(tmp_path, "ndjson"))] == lines(
        NDJSON
    )
    assert is_consistent(tmp_path)
