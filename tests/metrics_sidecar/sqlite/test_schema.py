"""A file of an older release is brought up to date, with all that is in it."""

import contextlib
import gzip
import sqlite3
from itertools import accumulate
from math import inf
from pathlib import Path

import pytest

from metrics_sidecar.commands.verify import examine
from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite import rollups, schema
from metrics_sidecar.sqlite.buckets import COLUMNS, LEVELS
from metrics_sidecar.sqlite.migrations import MIGRATIONS
from metrics_sidecar.sqlite.reader import SqliteReader
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType, Record
from shared.settings import StartupError

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FIRST_BOUNDS = (
    "[5000,10000,25000,50000,100000,250000,500000,1000000,2000000,2500000,5000000,10000000,30000000,60000000,"
    "120000000,300000000]"
)
FIRST_ROW = "INSERT INTO invocations VALUES (1, 1, 10, 20, 3, 4, 'timeout', 'why')"


def write_version_1(path: Path, *more: str) -> None:
    """A history as the first release left it: one failure, and its books."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA journal_mode = WAL; {MIGRATIONS[0]} PRAGMA application_id = {schema.APPLICATION_ID};"
            f"PRAGMA user_version = 1; INSERT INTO models VALUES (1, 'm', 1); {FIRST_ROW};"
            f"INSERT INTO totals VALUES (1, 0, 1, 20, 20, 20, 10, 1{', 0' * 16}, 0);"
            "INSERT INTO error_totals VALUES (1, 'timeout', 1);"
            f"INSERT INTO producers VALUES ('{'0' * 32}', 1, 1, 0, 5, x'');"
            f"INSERT INTO meta VALUES ('bucket_bounds_us', CAST('{FIRST_BOUNDS}' AS BLOB));"
        )
        for statement in more:
            connection.execute(statement)
        connection.commit()


async def test_an_older_file_goes_on_where_it_was(tmp_path: Path) -> None:
    """Its rows have no trace, new ones may; totals and sequences are carried on, and the books agree."""
    path = tmp_path / "history.db"
    write_version_1(path)
    store = SqliteWriter(path)
    state = store.load()
    assert state.totals["m"].failure_count == 1
    traced = Record("m", 30, 40, trace_id=TRACE)
    store.commit(Planner(state).plan([Work("0" * 32, 1, [Record("m", 10, 20, ErrorType.TIMEOUT), traced])], 50))
    queries = SqliteReader(path)
    page = await queries.page(HistoryQuery(order="asc"))
    queries.close()
    store.close()
    assert [(row.id, row.timestamp_us, row.error_log, row.trace_id) for row in page.rows] == [
        ("1", 10, "why", None),
        ("2", 30, "", TRACE),
    ]
    findings = examine(path)
    assert findings.damage == []
    assert findings.books is not None
    assert findings.books.consistent


async def test_a_file_of_the_release_before_has_all_that_it_had(tmp_path: Path) -> None:
    """Made by it: rows, totals by label, accounts, gaps and counters; and the books agree, before and after more of it,
    although its latencies were counted without some of today's bounds."""
    path = tmp_path / "history.db"
    released = Path(__file__).parent / "released" / "schema-6.db.gz"
    path.write_bytes(gzip.decompress(released.read_bytes()))
    store = SqliteWriter(path)
    state = store.load()
    counts = {label: (totals.success_count, totals.failure_count) for label, totals in state.totals.items()}
    assert counts == {"gpt-3.5": (18, 0), "team/bert": (0, 8), "__overflow__": (1, 1)}
    cumulated = dict(zip((*BUCKET_BOUNDS_S, inf), accumulate(state.totals["gpt-3.5"].buckets), strict=True))
    assert [cumulated[bound] for bound in (2.5, 3.0, 4.0, 5.0)] == [5, 5, 5, 9]
    assert [cumulated[bound] for bound in (7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, inf)] == [
        9,
        11,
        11,
        11,
        14,
        14,
        16,
        18,
    ]
    assert state.totals["team/bert"].errors[ErrorType.TIMEOUT] == 1
    assert (state.missing_count, [*state.producers], state.created_us) == (3, ["b" * 32], {})
    assert is_sound(path)
    more = [Record("gpt-3.5", 1_764_000_000_000_000, latency_us) for latency_us in (2_700_000, 3_700_000, 44_000_000)]
    store.commit(Planner(state).plan([Work("c" * 32, 1, more)], 1_764_000_000_000_000))
    buckets = dict(zip(BUCKET_BOUNDS_S, store.load().totals["gpt-3.5"].buckets, strict=False))
    assert [buckets[bound] for bound in (3.0, 4.0, 5.0, 45.0, 60.0)] == [1, 1, 4, 1, 2]
    queries = SqliteReader(path)
    page = await queries.page(HistoryQuery(limit=100))
    queries.close()
    store.close()
    assert (page.total_count, len(page.rows)) == (31, 31)
    assert is_sound(path)


def is_sound(path: Path) -> bool:
    findings = examine(path)
    return findings.damage == [] and findings.books is not None and findings.books.consistent


def test_each_bucket_has_its_column() -> None:
    """What is counted is stored where it is read."""
    assert len(schema.BUCKET_COLUMNS) == len(set(schema.BUCKET_COLUMNS)) == len(BUCKET_BOUNDS_S) + 1


def test_no_row_is_written_anew(tmp_path: Path) -> None:
    """The step to the newest version changes no invocation: of a large file only indexes are made."""
    path = tmp_path / "history.db"
    write_version_1(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executemany(
            "INSERT INTO invocations VALUES (?, 1, 1, 1, 1, 1, NULL, NULL)", [(n,) for n in range(2, 5_000)]
        )
        before = connection.total_changes
        schema.migrate(connection, str(path))
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.total_changes - before < 100


def test_sums_by_the_minute_are_kept_in_another_order(tmp_path: Path) -> None:
    """Of a file in which they were by minute and then by model: all of them are there."""
    path = tmp_path / "history.db"
    minutes = rollups.Table(LEVELS[0])
    rows = [
        (bucket, model, bucket, 2, 30, 4, 5, 6, 7, 8, None, b"\1\0\0\1")
        for bucket in range(95, 125)
        for model in (0, 1, 2)
    ]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for script in MIGRATIONS[:4]:
            connection.executescript(script)
        connection.executemany(f"INSERT INTO {minutes.name} VALUES (?{', ?' * (len(rows[0]) - 1)})", rows)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 4")
        schema.migrate(connection, str(path))
        found = connection.execute(f"SELECT {rollups.SUMMARY} FROM {minutes.name} ORDER BY bucket, model").fetchall()
        blocks = connection.execute(f"SELECT DISTINCT {minutes.block} FROM {minutes.name}").fetchall()
    later = len(COLUMNS) - len(rows[0]) - 3  # sums, and sketches
    assert found == [(*row[:10], *[0] * later, *row[10:], None, None, None) for row in rows]
    assert blocks == [(minute,) for minute in (90, 100, 110, 120)]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE meta SET value = CAST('[1,2]' AS BLOB)", "other histogram bounds"),
        ("DROP TABLE producers", "no such table"),
    ],
)
def test_an_older_file_that_cannot_be_used_is_left_as_it_is(tmp_path: Path, statement: str, words: str) -> None:
    """It is looked at before it is brought up to date."""
    path = tmp_path / "history.db"
    write_version_1(path, statement)
    before = path.read_bytes()
    with pytest.raises(StartupError, match=words):
        SqliteWriter(path)
    assert path.read_bytes() == before
