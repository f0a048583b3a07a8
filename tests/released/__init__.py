"""Frames, a journal and exports as the release before the wire had versions wrote them: facts, never made anew."""

import gzip
import json
from pathlib import Path

HERE = Path(__file__).parent
FRAMES: dict[str, bytes] = {
    name: bytes.fromhex(text) for name, text in json.loads((HERE / "frames.json").read_text()).items()
}
NDJSON = (HERE / "export.ndjson").read_bytes()
PARQUET = (HERE / "export.parquet").read_bytes()
RECORD_COUNT = 11
"""In each: two successes, and a failure of each of nine types."""


def write_journal(root: Path) -> Path:
    """The journal of a worker that died in a call, after all records: its directory."""
    directory = root / ("0" * 31 + "1")
    directory.mkdir(parents=True)
    (directory / "000000000001.segment").write_bytes(gzip.decompress((HERE / "journal.segment.gz").read_bytes()))
    return directory
