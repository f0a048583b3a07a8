"""What is old is removed from the file, slice by slice, and no total is changed by it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from metrics_sidecar.retention import Retention
from metrics_sidecar.rollups import DAY, MINUTE_US
from metrics_sidecar.store import retention as retention_module
from metrics_sidecar.store import rollup_writer
from metrics_sidecar.store.kept_series import KeptSeries
from metrics_sidecar.store.sqlite import SqliteStore
from metrics_sidecar.store.windows import read_series, read_window
from metrics_sidecar.transaction import Planner, Work
from metrics_sidecar.verify import examine
from metrics_sidecar.windows import ALL, SeriesQuery, Window
from shared.record import Record

START = 20_000 * DAY
DAYS = 6
END = START + DAYS * DAY
NOW_US = (END + 40) * MINUTE_US
EVERYTHING = Window(0, (END + DAY) * MINUTE_US)
DAY_US = DAY * MINUTE_US


@pytest.fixture(autouse=True)
def small_slices() -> Iterator[None]:
    """A few rows are enough for everything that happens with many."""
    with (
        patch.multiple(rollup_writer, MIN_WAITING_ROWS=100, ROWS_PER_GROUP=1, ROWS_PER_GROUP_BUSY=1),
        patch.multiple(retention_module, FREE_PAGES_KEPT=4, LOOK_EVERY_US=0),
    ):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A history of six days, nothing removed."""
    path = tmp_path / "history.db"
    random = Random(1)
    store = SqliteStore(path)
    planner = Planner(store.load())
    for first in range(0, DAYS * DAY, 1000):
        records = [
            Record(random.choice("abc"), (START + minute) * MINUTE_US + 7, random.randrange(10**6), None, "", 5, 5)
            for minute in range(first, min(first + 1000, DAYS * DAY))
        ]
        commit = planner.plan([Work("0" * 32, first + 1, records)], 0)
        commit.label_room = 10
        store.commit(commit)
        planner.applied(commit)
    tend(store)
    store.close()
    return path


def tend(store: SqliteStore, now_us: int = NOW_US) -> int:
    """All there is to do; in how many slices."""
    slices = 0
    while store.tend(now_us):
        slices += 1
    return slices


def remove(path: Path, retention: Retention) -> int:
    store = SqliteStore(path, retention=retention)
    slices = tend(store)
    store.close()
    return slices


def aged(age_us: int) -> Retention:
    """Rows and sums by the minute may get so old."""
    return Retention(rows_us=age_us, minutes_us=age_us)


def ask(path: Path, sql: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def count_window(path: Path, window: Window) -> tuple[Window, int]:
    """How many there were in it, and in which window exactly."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        answer = read_window(connection, window, ())
    return answer.window, sum(stats.count for stats in answer.stats.values())


def test_old_rows_go_and_every_total_stays(path: Path) -> None:
    """In many slices; each is counted as removed, and the books agree."""
    before = count_window(path, EVERYTHING)
    slices = remove(path, aged(2 * DAY_US))
    assert slices > 4 * DAY // retention_module.ROWS_AT_ONCE
    assert ask(path, "SELECT MIN(timestamp_us) FROM invocations") == (END - 2 * DAY) * MINUTE_US + 7
    assert ask(path, "SELECT SUM(removed_count) FROM totals") == 4 * DAY
    assert ask(path, "SELECT COUNT(*) FROM rollups_1") == ask(
        path, f"SELECT COUNT(*) FROM rollups_1 WHERE bucket >= {END - 2 * DAY}"
    )
    findings = examine(path)
    assert findings.damage == []
    assert findings.books is not None
    assert (findings.books.differences, findings.books.checked.rows_removed) == ([], 4 * DAY)
    assert count_window(path, EVERYTHING) == before == (EVERYTHING, DAYS * DAY)


def test_what_is_gone_is_known_by_the_hour_and_later_by_the_day(path: Path) -> None:
    """A window that begins there is told from the hour, or day, on that it begins in."""
    remove(path, aged(2 * DAY_US)._replace(hours_us=4 * DAY_US))
    odd_us = 90 * MINUTE_US + 5
    until_us = END * MINUTE_US
    assert count_window(path, Window((END - DAY) * MINUTE_US + odd_us, until_us)) == (
        Window((END - DAY) * MINUTE_US + odd_us, until_us),
        DAY - 90,
    )
    assert count_window(path, Window((END - 3 * DAY) * MINUTE_US + odd_us, until_us)) == (
        Window((END - 3 * DAY + 60) * MINUTE_US, until_us),
        3 * DAY - 60,
    )
    assert count_window(path, Window(START * MINUTE_US + odd_us, START * MINUTE_US + 2 * odd_us)) == (
        Window(START * MINUTE_US, (START + DAY) * MINUTE_US),
        DAY,
    )


def test_a_series_begins_where_its_steps_are_known(path: Path) -> None:
    """Minutes only as long as rows; hours and days before that, too."""
    remove(path, aged(2 * DAY_US))
    since_us = {}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for step in (1, 60, DAY):
            query = SeriesQuery(window=Window(START * MINUTE_US, END * MINUTE_US), step_minutes=step)
            window, series = read_series(connection, query, KeptSeries())
            since_us[step] = window.since_us
            counted = (window.until_us - window.since_us) // MINUTE_US
            assert sum(step.count for step in series[ALL]) == counted
    assert since_us == {1: (END - 2 * DAY) * MINUTE_US, 60: START * MINUTE_US, DAY: START * MINUTE_US}


def test_too_large_a_history_loses_its_oldest_hours(path: Path) -> None:
    """Until it fits; and the file becomes smaller, not only emptier."""
    before = path.stat().st_size
    remove(path, Retention(max_bytes=before * 2 // 3))
    oldest = ask(path, "SELECT MIN(timestamp_us) FROM invocations") // MINUTE_US
    assert START < oldest < END
    assert oldest % 60 == 0
    assert path.stat().st_size <= before * 2 // 3 + (4 + 1) * 4096
    assert count_window(path, EVERYTHING) == (EVERYTHING, DAYS * DAY)
    findings = examine(path)
    assert findings.books is not None
    assert findings.books.differences == []


def test_minutes_may_be_kept_longer_than_rows_and_days_may_go(path: Path) -> None:
    """Windows are told to the minute for as long, series begin there, and what is older than days is gone for them."""
    remove(path, Retention(rows_us=DAY_US, minutes_us=2 * DAY_US, hours_us=3 * DAY_US, days_us=4 * DAY_US))
    odd_us = (END - 2 * DAY + 90) * MINUTE_US + 5
    assert count_window(path, Window(odd_us, END * MINUTE_US)) == (
        Window(odd_us // MINUTE_US * MINUTE_US, END * MINUTE_US),
        2 * DAY - 90,
    )
    assert count_window(path, EVERYTHING) == (EVERYTHING, 4 * DAY)
    assert ask(path, "SELECT SUM(success_count + failure_count) FROM totals") == DAYS * DAY
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = SeriesQuery(window=Window(START * MINUTE_US, END * MINUTE_US), step_minutes=10)
        window, _ = read_series(connection, query, KeptSeries())
    assert window.since_us == (END - 2 * DAY) * MINUTE_US
    findings = examine(path)
    assert findings.books is not None
    assert findings.books.differences == []


def test_late_records_of_removed_times_are_counted(path: Path) -> None:
    """In the hours and days that are kept, and in all totals; their rows go with the others."""
    store = SqliteStore(path, retention=aged(2 * DAY_US))
    tend(store)
    planner = Planner(store.load())
    late = [Record("a", (START + 10) * MINUTE_US, 5, None, "", 5, 5)] * 150
    store.commit(planner.plan([Work("1" * 32, 1, late)], 0))
    tend(store)
    store.close()
    assert count_window(path, EVERYTHING) == (EVERYTHING, DAYS * DAY + 150)
    assert ask(path, "SELECT SUM(removed_count) FROM totals") == 4 * DAY + 150
    findings = examine(path)
    assert findings.books is not None
    assert findings.books.differences == []
