"""Windows of the SQLite ledger: exactly the rows, whatever is rolled up, built or still waiting."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from metrics_sidecar.queries import NotBuiltError, StoreError
from metrics_sidecar.rollups import DAY, LEVELS, MINUTE_US, Summary, combine, to_row
from metrics_sidecar.store import rollup_writer
from metrics_sidecar.store.rollups import summarize_rows, table
from metrics_sidecar.store.sqlite import SqliteStore
from metrics_sidecar.store.windows import read_series, read_window, to_stats, to_step
from metrics_sidecar.transaction import Planner, Work
from metrics_sidecar.windows import ALL, SeriesQuery, Step, Window, WindowStats
from shared.record import OVERFLOW_MODEL_ID, ErrorType, Record
from tests.metrics_sidecar.test_schema import write_version_1

START = 20_000 * DAY
"""In minutes: the begin of a day."""
MODELS = ("a", "b", "c", "d")
LABELLED = 3


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
        GROUPS_AT_ONCE=2,
        MODELS_AT_ONCE=2,
    ):
        yield


class History:
    """A store, and the records that it was given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.path)
        self.planner = Planner(self.store.load())

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def commit(self, records: list[Record]) -> None:
        commit = self.planner.plan([Work("0" * 32, len(self.records) + 1, records)], 0)
        commit.label_room = LABELLED - len({record.model_id for record in self.records})
        self.store.commit(commit)
        self.planner.applied(commit)
        self.records += records

    def window(self, window: Window, *models: str) -> dict[str, WindowStats]:
        with reading(self.path) as connection:
            return read_window(connection, window, models).stats

    def series(self, query: SeriesQuery) -> dict[str, list[Step]]:
        with reading(self.path) as connection:
            return read_series(connection, query).series

    def expected(self, window: Window, *models: str) -> dict[str, WindowStats]:
        """The same, counted from the records."""
        return {
            model_id: to_stats(found)
            for model_id in models or MODELS
            if (found := count(self.records, window, model_id)) is not None
        }


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


def count(records: list[Record], window: Window, *models: str) -> Summary | None:
    wanted = [
        (
            0,
            1,
            r.timestamp_us,
            r.latency_us,
            r.input_size,
            r.output_size,
            None if r.error_type is None else str(r.error_type),
        )
        for r in records
        if r.model_id in models and window.since_us <= r.timestamp_us < window.until_us
    ]
    return combine(summarize_rows(wanted)) if wanted else None


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


def live(history: History, random: Random) -> None:
    """Three days of records as they come, some late, with a restart now and then."""
    minute = float(START)
    while minute < START + 3 * DAY:
        batch = [make_record(random, minute - (random.random() * 2 * DAY if random.random() < 0.05 else 0))
                 for _ in range(random.randrange(1, 30))]  # fmt: skip
        minute += random.expovariate(1 / 90)
        history.commit(batch)
        for _ in range(random.randrange(6)):
            history.store.tend(int(minute * MINUTE_US))
        if random.random() < 0.02:
            history.reopen()


def windows(random: Random) -> Iterator[Window]:
    """Whole minutes, parts of one, long ones, and those in which there is nothing."""
    yield Window(0, (START + 10 * DAY) * MINUTE_US)
    yield Window(START * MINUTE_US, (START + 2 * DAY) * MINUTE_US)
    yield Window((START - 9) * MINUTE_US, START * MINUTE_US)
    for _ in range(40):
        since, until = sorted(random.uniform(START - DAY, START + 4 * DAY) for _ in range(2))
        yield Window(int(since) * MINUTE_US, int(until) * MINUTE_US)
        yield Window(int(since * MINUTE_US), int(until * MINUTE_US))
        yield Window(int(since * MINUTE_US), int(since * MINUTE_US) + random.randrange(2 * MINUTE_US))


@pytest.mark.parametrize("seed", range(4))
def test_a_window_is_exactly_its_rows(tmp_path: Path, seed: int) -> None:
    """Of one model, of some and of each, percentiles included."""
    random = Random(seed)
    history = History(tmp_path / "history.db")
    live(history, random)
    label = {"a": "a", "b": "b", "c": "c", "d": "d"}
    with reading(history.path) as connection:
        unlabelled = connection.execute("SELECT model_id FROM models WHERE NOT labelled").fetchone()[0]
    label[unlabelled] = OVERFLOW_MODEL_ID
    for window in windows(random):
        expected = history.expected(window)
        assert history.window(window) == {label[model_id]: one for model_id, one in expected.items()}
        assert history.window(window, "b") == history.expected(window, "b")
        assert history.window(window, "a", "unknown", unlabelled) == history.expected(window, "a", unlabelled)
        of_overflow = expected.get(unlabelled)
        assert history.window(window, OVERFLOW_MODEL_ID) == ({OVERFLOW_MODEL_ID: of_overflow} if of_overflow else {})
    history.store.close()


@pytest.mark.parametrize("step", [1, 5, 10, 60, 90, DAY])
def test_a_series_adds_up_to_its_window(tmp_path: Path, step: int) -> None:
    """Each step is the window of its own, of all models together, of some, and of each."""
    random = Random(step)
    history = History(tmp_path / "history.db")
    live(history, random)
    start = (START + DAY // 2) // step * step
    window = Window(start * MINUTE_US, (start + 40 * step) * MINUTE_US)
    for models, by_model in (((), False), (("a", "b"), False), (("a", "b"), True)):
        query = SeriesQuery(window=window, step_minutes=step, models=models, by_model=by_model, percent=95)
        found = {label: {one.minute: one for one in steps} for label, steps in history.series(query).items()}
        for labels, mine in ((("a",), "a"), (("b",), "b")) if by_model else ((models or MODELS, ALL),):
            for minute in range(start, start + 40 * step, step):
                expected = count(history.records, Window(minute * MINUTE_US, (minute + step) * MINUTE_US), *labels)
                got = found.get(mine, {}).get(minute)
                assert got == (expected and to_step(minute, [to_row((minute, 1), expected)], 95))
    history.store.close()


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
            connection.execute(f"SELECT COUNT(DISTINCT bucket) FROM {table(level)}").fetchone()[0]
            for level in LEVELS[1:]
        ]
    assert built == [48 * 6 + 3, 48 + 1, 8, 2]
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
    store = SqliteStore(path)
    everything = Window(0, (START + DAY) * MINUTE_US)
    with reading(path) as connection, pytest.raises(NotBuiltError, match="0% is done"):
        read_window(connection, everything, ())
    for _ in range(4):  # the rows read, rolled up for their model, and for all models together
        store.tend(START * MINUTE_US)
    with reading(path) as connection, pytest.raises(NotBuiltError, match="30% is done"):
        read_window(connection, everything, ("m",))
    store.close()
    store = SqliteStore(path)
    while store.tend(START * MINUTE_US):
        pass
    with reading(path) as connection:
        found = read_window(connection, everything, ()).stats
    assert (found["m"].count, found["m"].failure_count, found["m"].max_latency_us) == (100, 1, 100)
    store.close()


@pytest.mark.parametrize("slices", range(3))
def test_a_slice_that_fails_changes_nothing(tmp_path: Path, slices: int) -> None:
    """What was rolled up stays, the rest is rolled up the next time, and each row is counted once."""
    history = History(tmp_path / "history.db")
    random = Random(3)
    history.commit([make_record(random, START + n / 10) for n in range(50)])
    for _ in range(slices):
        history.store.tend(0)
    full = patch.object(rollup_writer.RollupWriter, "_note", side_effect=sqlite3.OperationalError("disk full"))
    with full, pytest.raises(StoreError, match="disk full"):
        history.store.tend(0)
    window = Window(0, (START + DAY) * MINUTE_US)
    assert history.window(window, *MODELS) == history.expected(window)
    while history.store.tend(0):
        pass
    assert history.window(window, *MODELS) == history.expected(window)
    with reading(history.path) as connection:
        (rolled,) = connection.execute(
            "SELECT SUM(success_count + failure_count) FROM rollups_1 WHERE model > 0"
        ).fetchone()
    assert rolled == 50 - history.store.upkeep.waiting_rows >= 30
    history.store.close()
