"""When rows are rolled up, and which: each limit on its bound."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from metrics_sidecar.history.rollups import MINUTE_US
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.rollup_writer import MAX_WAIT_US, Held, Job, RollupWriter
from metrics_sidecar.sqlite.sqlite import SqliteStore

NOW_US = 20_000_000 * MINUTE_US


def row(row_id: int, model: int = 1, minute: int = 0) -> tuple[int, int, int, int, int, int, str | None]:
    return row_id, model, minute * MINUTE_US, 5, 0, 0, None


class Bench:
    """A writer on a ledger that has these rows, by number of model."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore(path)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.writer = RollupWriter(self.connection)

    def insert(self, models: Sequence[int], *, held: bool = True, minute: int = 0) -> None:
        (last,) = self.connection.execute("SELECT COALESCE(MAX(id), 0) FROM invocations").fetchone()
        rows = [row(last + number, model, minute) for number, model in enumerate(models, 1)]
        self.connection.executemany(
            """INSERT INTO invocations (id, model, timestamp_us, latency_us, input_size, output_size, error_type)
            VALUES (?, ?, ?, ?, ?, ?, ?)""",
            rows,
        )
        if held:
            self.writer.added({*models}, rows, 0)

    def job(self, last_id: int, now_us: int = NOW_US, *, busy: bool = False) -> Job | None:
        return self.writer._next_job(last_id, now_us, busy=busy)

    def close(self) -> None:
        self.connection.close()
        self._store.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    limits = {
        "MIN_WAITING_ROWS": 6,
        "MAX_WAITING_ROWS": 12,
        "ROWS_PER_GROUP": 2,
        "ROWS_PER_GROUP_BUSY": 3,
        "MAX_WAITING_MODELS": 8,
        "MAX_HELD_FAILURES": 4,
        "ROWS_READ_AT_ONCE": 5,
        "MAX_SPAN_MINUTES": 10,
    }
    for name, value in limits.items():
        monkeypatch.setattr(rollup_writer, name, value)
    with contextlib.closing(Bench(tmp_path / "history.db")) as bench:
        yield bench


@pytest.mark.parametrize(
    ("models", "busy", "due"),
    [
        (1, False, 6),
        (3, False, 6),
        (4, False, 8),
        (7, False, 12),
        (2, True, 6),
        (3, True, 9),
        (4, True, 12),
        (5, True, 12),
    ],
)
def test_so_many_rows_are_rolled_up_at_once(bench: Bench, models: int, busy: bool, due: int) -> None:
    """Some for each model that they are of, more while it is busy; but neither very few nor very many."""
    bench.writer.added(range(1, models + 1), [], 0)
    assert bench.job(due - 1, busy=busy) is None
    job = bench.job(due, busy=busy)
    assert job is not None
    assert job.until_id == due


def test_rows_of_many_models_do_not_wait(bench: Bench) -> None:
    """Not even one; but no row is no work."""
    bench.writer.added(range(1, 8), [], 0)
    assert bench.job(1) is None
    bench.writer.added([8], [], 0)
    assert bench.job(0) is None
    assert bench.job(1) is not None


def test_no_row_waits_for_long(bench: Bench) -> None:
    """More than a minute since it was first seen; a clock that is set back makes it later, and what waits is new
    once all is rolled up."""
    assert bench.job(1, NOW_US) is None
    assert bench.job(1, NOW_US + MAX_WAIT_US) is None
    assert bench.job(0, NOW_US + MAX_WAIT_US + 1) is None
    assert bench.job(1, NOW_US + MAX_WAIT_US + 1) is None
    assert bench.job(2, NOW_US + 2 * MAX_WAIT_US + 1) is None
    assert bench.job(2, NOW_US + 2 * MAX_WAIT_US + 2) is not None
    bench.writer._due_id = 0
    assert bench.job(2, NOW_US + 2 * MAX_WAIT_US + 3) is None
    assert MAX_WAIT_US == MINUTE_US


def test_what_was_due_is_rolled_up_to_its_end(bench: Bench) -> None:
    """In several jobs, where there is too much for one; from what is held, if that is all there is."""
    bench.insert([1] * 30, held=False)
    job = bench.job(30)
    assert job is not None
    assert (job.until_id, job.is_read) == (12, False)
    bench.writer._progress = bench.writer.progress._replace(last_id=29)
    job = bench.job(30)
    assert job is not None
    assert (job.until_id, job.is_read) == (30, False)
    bench.writer._progress = bench.writer.progress._replace(last_id=30)
    assert bench.job(30) is None
    bench.insert([1] * 20)
    job = bench.job(50)
    assert job is not None
    assert (job.until_id, job.is_read) == (50, True)
    assert bench.writer._held.count == 0


def test_rows_of_an_older_release_are_rolled_up_when_no_others_are_due(bench: Bench) -> None:
    """At most so many at once, and as if they came alone; where a process died in the middle, that first."""
    progress = bench.writer.progress._replace(last_id=40, older_id=3, older_end_id=17)
    bench.writer._progress = progress
    assert progress.is_complete is False
    due, older = bench.job(46), bench.job(41)
    assert due is not None
    assert (due._next_id, due.until_id) == (41, 46)
    assert older is not None
    assert (older._next_id, older.until_id) == (41, 41)  # until all that was due is done
    bench.writer._due_id = 40
    for older_id, expected in ((3, (4, 15)), (5, (6, 17)), (6, (7, 17))):
        bench.writer._progress = progress._replace(older_id=older_id)
        job = bench.job(41)
        assert job is not None
        assert (job._next_id, job.until_id) == expected
    for ahead_id, expected in ((17, (4, 17)), (18, (41, 18))):
        bench.writer._progress = progress._replace(ahead_id=ahead_id, ahead_model=2)
        job = bench.job(46)
        assert job is not None
        assert (job._next_id, job.until_id, job._done_model) == (*expected, 2)
    bench.writer._progress = progress._replace(older_id=17)
    assert bench.job(41) is None


@pytest.mark.parametrize(("rows", "failures", "is_held"), [(24, 4, True), (25, 0, False), (1, 5, False)])
def test_what_is_held_is_bounded(bench: Bench, rows: int, failures: int, is_held: bool) -> None:
    """In rows and in failures, whose logs are long; what is not all there is of no use."""
    held = Held()
    held.add([1], [row(1)] * (rows - 1), failures - min(failures, 1))
    held.add([2], [row(1)], min(failures, 1))
    assert (held.count, held.models) == (rows, {1, 2})
    assert held.all_of(rows) == ([row(1)] * rows if is_held else None)
    assert held.all_of(rows + 1) is None
    held.add([3], [row(2)], 0)
    assert held.all_of(rows + 1) == ([row(1)] * rows + [row(2)] if is_held and rows < 24 else None)


@pytest.mark.parametrize(("minute", "until_id"), [(10, 9), (11, 5)])
def test_rows_are_read_some_at_a_time(bench: Bench, minute: int, until_id: int) -> None:
    """Until they are of too long a time, which would be too many buckets; but what was begun is done to its end."""
    bench.insert([1, 2, 1, 2], held=False)
    bench.insert([3], held=False, minute=minute)
    bench.insert([1] * 5, held=False)
    for done_model in (0, 1):
        job = Job(1, 9, done_model=done_model)
        job.read(bench.connection)
        assert job.until_id == (until_id if not done_model else 9)
        assert job.is_read == (job.until_id == 5)
        if not job.is_read:
            job.read(bench.connection)
            assert job.is_read
        found = {model: len(rows) for model, rows in job._by_model.items()}
        assert found == ({1: 2, 2: 2, 3: 1} if job.until_id == 5 else {1: 6, 2: 2, 3: 1})


def test_models_come_in_order_so_many_at_a_time() -> None:
    """Whole ones; none that was done before; and all together at the end, with these."""
    rows = [row(1, 3), row(2, 1), row(3, 2, 1), row(4, 2), row(5, 3), row(6, 4)]
    job = Job(1, 6, rows, done_model=1)
    assert job.is_read
    found = []
    while (some := job.next_models(2))[0]:
        found.append((some[0], [one[:3] for one in some[1]]))
    assert some == (0, [])
    assert [last for last, _ in found] == [2, 4]
    assert sorted(one for _, rows in found for one in rows) == [(0, 2, 1), (0, 3, 2), (0, 4, 1), (1, 2, 1)]
    assert sorted(one[:3] for one in job.together()) == [(0, 0, 5), (1, 0, 1)]
