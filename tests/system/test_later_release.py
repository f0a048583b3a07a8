"""A later release is this one with one field more in its table, and one migration: nothing else is changed in it."""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from shared.framing import FrameReader
from shared.record import Record
from shared.wire import PROTOCOL_VERSION, Ack, Hello, Welcome, decode_to_producer, encode, encode_batch
from tests.processes import ROOT, System, eventually, get, system
from tests.system.test_transfer import fetch

PRODUCER = "1" * 32
FIELD = """    hops: Annotated[
        Count,
        Told(help="How far it went.", filter=Range("None nearer.", "None farther."), summed=True, example=3),
    ] = 0
"""
MIGRATION = '''_LATER = """
ALTER TABLE invocations ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
"""
'''
NOW_US = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The later release's folder."""
    folder = tmp_path_factory.mktemp("later")
    for package in ("shared", "metrics_sidecar"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    put(folder / "shared/record.py", r"(?m)^    @property\n    def success\(", f"{FIELD}\n" + r"\g<0>")
    put(
        folder / "metrics_sidecar/sqlite/migrations.py",
        r"(?m)^MIGRATIONS = \((.*)\)$",
        MIGRATION + r"MIGRATIONS = (\1, _LATER)",
    )
    return folder


def put(path: Path, at: str, text: str) -> None:
    changed, count = re.subn(at, text, path.read_text())
    assert count == 1
    path.write_text(changed)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def encoded(number: int, *more: Any) -> bytes:
    """A record of the model `m`, with what a later release says of it."""
    values = msgspec.structs.astuple(Record("m", NOW_US + number, 1000, None, "", 1, 2))
    return msgspec.msgpack.encode([*values, *more])


def send(socket_path: Path, records: list[bytes], newest: int) -> Welcome:
    """As a gateway does: until all is acknowledged."""
    reader, received = FrameReader(), []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(socket_path))
        connection.sendall(encode(Hello(1, PRODUCER, 1, [], newest)) + encode_batch(1, records))
        while Ack(len(records)) not in received:
            received += [decode_to_producer(body) for body in reader.feed(connection.recv(65536))]
    welcome = received[0]
    assert isinstance(welcome, Welcome)
    return welcome


def run(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-m", "metrics_sidecar", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60, text=True).stdout


RECORDS = [encoded(1, 5), encoded(2), encoded(3, 7), encoded(4, 0)]
"""Three of the later release, and one of this one."""
HOPS = [5, 0, 7, 0]


def test_what_a_rolled_back_sidecar_could_not_read_is_read_when_it_is_back(started: System, later: Path) -> None:
    """Meanwhile it answers, takes what it can read, says how much it can't, and holds up no gateway."""
    sidecar = started.start_sidecar()
    assert send(started.socket, RECORDS, PROTOCOL_VERSION + 1).version == PROTOCOL_VERSION
    assert started.stats("m")["total_invocations"] == 1
    books = get(f"{started.sidecar_url}/metrics/reconcile")
    assert (books["consistent"], books["checked"]["unread"], books["missing"]["count"]) == (True, 3, 0)
    assert json.loads(run(ROOT, "info", "--data-dir", started.data, "--json"))["unread"][0] == 3
    assert sidecar.stop() == 0
    started.cwd = later
    started.start_sidecar()
    started.settled("m", 4)
    rows = started.history("order=asc")["history"]
    assert [row["hops"] for row in rows] == HOPS
    books = get(f"{started.sidecar_url}/metrics/reconcile")
    assert (books["consistent"], books["checked"]["unread"], books["checked"]["sequences"]) == (True, 0, 4)
    send(started.socket, RECORDS, PROTOCOL_VERSION + 1)
    assert started.stats("m")["total_invocations"] == 4


def test_a_field_is_there_by_the_table_alone(started: System, later: Path, tmp_path: Path) -> None:
    """In rows, filters, sums, OpenAPI, and every format of files, from there and back."""
    started.cwd = later
    started.start_sidecar()
    assert send(started.socket, RECORDS, PROTOCOL_VERSION + 1).version == PROTOCOL_VERSION + 1
    url = started.sidecar_url
    assert [row["hops"] for row in started.history("order=asc")["history"]] == HOPS
    assert [row["hops"] for row in started.history("min_hops=5&max_hops=6")["history"]] == [5]
    window = "since=2023-11-14T00:00:00Z&until=2023-11-16T00:00:00Z"
    stats = eventually(lambda: get(f"{url}/metrics/stats?{window}")["stats"], bool)
    assert stats["m"]["total_hops"] == sum(HOPS)
    document = get(f"{url}/openapi.json")
    (operation,) = document["paths"]["/metrics/history"].values()
    assert {"min_hops", "max_hops"} <= {parameter["name"] for parameter in operation["parameters"]}
    header, *lines = fetch(f"{url}/metrics/export?format=csv").decode().splitlines()
    assert header.endswith(',"hops"')
    assert [int(line.rpartition(",")[2]) for line in lines] == HOPS
    ndjson = fetch(f"{url}/metrics/export")
    assert [json.loads(line)["hops"] for line in ndjson.splitlines()] == HOPS
    table = pq.read_table(io.BytesIO(fetch(f"{url}/metrics/export?format=parquet")))
    assert table.column("hops").to_pylist() == HOPS
    exported = tmp_path / "exported.ndjson"
    exported.write_bytes(ndjson)
    again = tmp_path / "again"
    again.mkdir()
    run(later, "import", "--data-dir", again, exported)
    out = tmp_path / "again.ndjson"
    run(later, "export", "--data-dir", again, "-o", out)
    assert [json.loads(line)["hops"] for line in out.read_bytes().splitlines()] == HOPS
