"""How SQLite's rollups are built, and what is read while they are. What windows and series come to is in `contract`."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import NotBuiltError, StoreError
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.aggregate import read_aggregate
from metrics_sidecar.sqlite.buckets import LEVELS
from metrics_sidecar.sqlite.rollups import Table
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType, Record
from tests.metrics_sidecar.sqlite.test_schema import write_version_1
from tests.metrics_sidecar.tables import counts, rows_of

START = 20_000 * DAY
"""In minutes: the begin of a day."""
MODELS = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def small_slices() -> Iterator[None]:
    """A few rows are enough for everything that happens with many."""
    with patch.multiple(
        rollup_writer,
        MIN_WAITING_ROWS=40,
        ROWS_PER_GROUP=1,
        ROWS_PER_GROUP_BUSY=1,
        MAX_WAITING_ROWS=64,
        ROWS_READ_AT_ONCE=30,
    ):
        yield


class History:
    """A store, and the records that it was given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        self.store = SqliteWriter(self.path)
        self.planner = Planner(self.store.load())

    def commit(self, records: list[Record]) -> None:
        commit = self.planner.plan([Work("0" * 32, len(self.records) + 1, records)], 0)
        commit.label_room = len(MODELS)
        self.store.commit(commit)
        self.planner.applied(commit)
        self.records += records

    def window(self, window: Window) -> dict[str, int]:
        with reading(self.path) as connection:
            return counts(read_aggregate(connection, Ask(window=window, models=MODELS)))

    def expected(self, window: Window) -> dict[str, int]:
        """The same, counted from the records."""
        return dict(Counter(r.model_id for r in self.records if window.since_us <= r.timestamp_us < window.until_us))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


def make_record(random: Random, minute: float) -> Record:
    failed = random.random() < 0.2
    return Record(
        random.choice(MODELS),
        int(minute * MINUTE_US),
        int(random.lognormvariate(10, 1)),
        random.choice(list(ErrorType)) if failed else None,
        "why" if failed else "",
        random.randrange(9),
        random.randrange(9),
    )


def test_levels_are_built_when_the_time_of_smaller_buckets_is_over(tmp_path: Path) -> None:
    """The last bucket of each grows with them; and a month is read from few rows."""
    history = History(tmp_path / "history.db")
    random = Random(9)
    for minute in range(START, START + 2 * DAY + 400, 7):
        history.commit([make_record(random, minute)])
    while history.store.tend((START + 2 * DAY + 30) * MINUTE_US):
        pass
    with reading(history.path) as connection:
        built = [
            connection.execute(f"SELECT COUNT(DISTINCT bucket) FROM {Table(level).name}").fetchone()[0]
            for level in LEVELS[1:]
        ]
    assert built == [48 + 1, 2]
    history.store.close()


def test_rows_of_an_older_release_are_rolled_up_in_slices(tmp_path: Path) -> None:
    """Until that is done windows are refused with how far it is; then they are the rows."""
    path = tmp_path / "history.db"
    write_version_1(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO invocations VALUES (?, 1, ?, ?, 1, 1, NULL, NULL)",
            [(n, START * MINUTE_US + n * 1_000_000, n) for n in range(2, 101)],
        )
        connection.commit()
    store = SqliteWriter(path)
    everything = Window(0, (START + DAY) * MINUTE_US)
    with reading(path) as connection, pytest.raises(NotBuiltError, match="0% is done"):
        read_aggregate(connection, Ask(window=everything))
    store.tend(START * MINUTE_US)
    with reading(path) as connection, pytest.raises(NotBuiltError, match="30% is done"):
        read_aggregate(connection, Ask(window=everything, models=("m",)))
    store.close()
    store = SqliteWriter(path)
    while store.tend(START * MINUTE_US):
        pass
    with reading(path) as connection:
        found = rows_of(read_aggregate(connection, Ask(window=everything)))["m", 0]
    assert (found["success_count"], found["failure_count"], found["max_latency_us"]) == (99, 1, 100)
    store.close()


@pytest.mark.parametrize("steps", range(3))
def test_a_step_that_fails_changes_nothing(tmp_path: Path, steps: int) -> None:
    """What was rolled up stays, the rest is rolled up the next time, and each row is counted once."""
    history = History(tmp_path / "history.db")
    random = Random(3)
    for step in range(steps + 1):
        history.commit([make_record(random, START + n / 10) for n in range(50)])
        if step < steps:
            history.store.tend(0)
    full = patch.object(rollup_writer.RollupWriter, "_note", side_effect=sqlite3.OperationalError("disk full"))
    with full, pytest.raises(StoreError, match="disk full"):
        history.store.tend(0)
    window = Window(0, (START + DAY) * MINUTE_US)
    assert history.window(window) == history.expected(window)
    while history.store.tend(0):
        pass
    assert history.window(window) == history.expected(window)
    with reading(history.path) as connection:
        (rolled,) = connection.execute(
            "SELECT SUM(success_count + failure_count) FROM rollups_1 WHERE model > 0"
        ).fetchone()
    assert rolled == 50 * (steps + 1) - history.store.upkeep.waiting_rows >= 30
    history.store.close()
