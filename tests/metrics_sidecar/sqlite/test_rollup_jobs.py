"""When rows are rolled up, and which: each limit on its bound."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.rollup_writer import MAX_WAIT_US, Held, RollupWriter
from metrics_sidecar.sqlite.summaries import ROLLED_UP
from metrics_sidecar.sqlite.writer import SqliteWriter

NOW_US = 20_000_000 * MINUTE_US


def row(row_id: int, model: int = 1, minute: int = 0) -> tuple[int | None, ...]:
    said = {"id": row_id, "model": model, "timestamp_us": minute * MINUTE_US, "latency_us": 5}
    return tuple(said.get(name, None if name == "error_type" else 0) for name in ROLLED_UP)


class Bench:
    """A writer on a ledger that has these rows, by number of model."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteWriter(path)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.writer = RollupWriter(self.connection)

    def insert(self, models: Sequence[int], *, held: bool = True, minute: int = 0) -> None:
        (last,) = self.connection.execute("SELECT COALESCE(MAX(id), 0) FROM invocations").fetchone()
        rows = [row(last + number, model, minute) for number, model in enumerate(models, 1)]
        self.connection.executemany(
            """INSERT INTO invocations (id, model, timestamp_us, latency_us, input_size, output_size)
            VALUES (?, ?, ?, ?, 0, 0)""",
            (row[:4] for row in rows),
        )
        if held:
            self.writer.added({*models}, rows, 0)

    def is_due(self, last_id: int, now_us: int = NOW_US, *, busy: bool = False) -> bool:
        return self.writer._is_due(last_id, now_us, busy=busy)

    def rolled_up(self) -> int:
        (rows,) = self.connection.execute("SELECT SUM(success_count) FROM rollups_1 WHERE model = 0").fetchone()
        return rows or 0

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
        "SPREAD_ROWS_AT_ONCE": 2,
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
    assert not bench.is_due(due - 1, busy=busy)
    assert bench.is_due(due, busy=busy)


def test_rows_of_many_models_do_not_wait(bench: Bench) -> None:
    """Not even one; but no row is no work."""
    bench.writer.added(range(1, 8), [], 0)
    assert not bench.is_due(1)
    bench.writer.added([8], [], 0)
    assert not bench.is_due(0)
    assert bench.is_due(1)


def test_no_row_waits_for_long(bench: Bench) -> None:
    """More than a minute since it was first seen; what waits is new once all is rolled up."""
    assert not bench.is_due(1, NOW_US)
    assert not bench.is_due(1, NOW_US + MAX_WAIT_US)
    assert not bench.is_due(0, NOW_US + MAX_WAIT_US + 1)
    assert not bench.is_due(1, NOW_US + MAX_WAIT_US + 1)
    assert not bench.is_due(2, NOW_US + 2 * MAX_WAIT_US + 1)
    assert bench.is_due(2, NOW_US + 2 * MAX_WAIT_US + 2)
    assert MAX_WAIT_US == MINUTE_US


def test_what_was_due_is_rolled_up_to_its_end(bench: Bench) -> None:
    """In several steps, where not all is held; otherwise in one, and nothing is held then."""
    bench.insert([1] * 13, held=False)
    for expected in (5, 10, 13):
        assert bench.writer.step(13, NOW_US)
        assert (bench.writer.progress.last_id, bench.rolled_up()) == (expected, expected)
    assert not bench.is_due(13)
    bench.insert([1] * 20)
    assert bench.writer.step(33, NOW_US)
    assert (bench.writer.progress.last_id, bench.rolled_up(), bench.writer._held.count) == (33, 33, 0)


def test_rows_of_an_older_release_are_rolled_up_when_no_others_are_due(bench: Bench) -> None:
    """A few at once, as if they came alone."""
    bench.insert([1] * 12, held=False)
    bench.insert([1] * 7)
    bench.writer._progress = bench.writer.progress._replace(last_id=12, older_id=3, older_end_id=12)
    found = []
    for last_id in (13, 19, 19, 19):
        assert bench.writer.step(last_id, NOW_US)
        found.append((bench.writer.progress.older_id, bench.writer.progress.last_id, bench.rolled_up()))
    assert found == [(8, 12, 5), (8, 19, 12), (12, 19, 16), (12, 19, 16)]
    assert bench.writer.progress.is_complete


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


@pytest.mark.parametrize(("minute", "until_id"), [(10, 5), (11, 2)])
def test_rows_of_a_long_time_are_fewer(bench: Bench, minute: int, until_id: int) -> None:
    """They are as many buckets."""
    bench.insert([1, 2, 1, 2], held=False)
    bench.insert([3], held=False, minute=minute)
    bench.insert([1] * 5, held=False)
    assert bench.writer.step(10, NOW_US)
    assert bench.writer.progress.last_id == until_id


def test_what_was_done_for_some_models_is_done_for_the_others(bench: Bench) -> None:
    """As an earlier release has left it: those that were through are not counted again; all together are."""
    bench.insert([1, 2, 3, 1], held=False)
    sums = """INSERT INTO rollups_1 (block, bucket, model, success_count, failure_count, latency_us, min_latency_us,
    max_latency_us, last_timestamp_us, input_size, output_size, sketch)
    VALUES (0, 0, 1, 2, 0, 10, 5, 5, 0, 0, 0, x'')"""
    bench.connection.execute(sums)
    bench.connection.execute("UPDATE rollup_progress SET ahead_id = 4, ahead_model = 1")
    for _ in range(2):
        assert RollupWriter(bench.connection).progress.last_id == 4
        found = bench.connection.execute("SELECT model, success_count FROM rollups_1").fetchall()
        assert sorted(found) == [(0, 4), (1, 2), (2, 1), (3, 1)]
