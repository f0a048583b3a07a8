"""Files that the last release exported are imported by this one."""

from pathlib import Path

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
