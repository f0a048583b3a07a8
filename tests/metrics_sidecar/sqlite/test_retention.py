"""What is old is removed from the file, slice by slice, and no total is changed by it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from metrics_sidecar.commands.verify import examine
from metrics_sidecar.history.aggregate import ALL, Ask
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite import retention as retention_module
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.aggregate import read_aggregate
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import Record
from tests.metrics_sidecar.tables import counts

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
    store = SqliteWriter(path)
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


def tend(store: SqliteWriter, now_us: int = NOW_US) -> int:
    """All there is to do; in how many slices."""
    slices = 0
    while store.tend(now_us):
        slices += 1
    return slices


def remove(path: Path, retention: Retention) -> int:
    store = SqliteWriter(path, retention=retention)
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
        table = read_aggregate(connection, Ask(window=window))
    assert table.window is not None
    return table.window, sum(counts(table).values())


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
            ask = Ask(window=Window(START * MINUTE_US, END * MINUTE_US), step_minutes=step, by=None)
            table = read_aggregate(connection, ask)
            assert table.window is not None
            since_us[step] = table.window.since_us
            assert counts(table) == {ALL: (table.window.until_us - table.window.since_us) // MINUTE_US}
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
        tens = Ask(window=Window(START * MINUTE_US, END * MINUTE_US), step_minutes=10, by=None)
        window = read_aggregate(connection, tens).window
    assert window is not None
    assert window.since_us == (END - 2 * DAY) * MINUTE_US
    findings = examine(path)
    assert findings.books is not None
    assert findings.books.differences == []


def test_late_records_of_removed_times_are_counted(path: Path) -> None:
    """In the hours and days that are kept, and in all totals; their rows go with the others."""
    store = SqliteWriter(path, retention=aged(2 * DAY_US))
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


def test_the_bound_of_retention_is_kept(path: Path) -> None:
    """A row of the very first microsecond that is kept stays, and the one before it goes."""
    bound_us = (END - 2 * DAY) * MINUTE_US
    store = SqliteWriter(path, retention=aged(2 * DAY_US))
    planner = Planner(store.load())
    store.commit(planner.plan([Work("1" * 32, 1, [Record("edge", at, 5) for at in (bound_us - 1, bound_us)])], 0))
    tend(store)
    tend(store, (END + 59) * MINUTE_US + MINUTE_US - 1)
    assert ask(path, "SELECT MIN(timestamp_us) FROM invocations") == bound_us
    tend(store, (END + 60) * MINUTE_US)
    assert ask(path, "SELECT MIN(timestamp_us) FROM invocations") == bound_us + 60 * MINUTE_US + 7
    store.close()


def test_late_rows_are_rolled_up_before_they_are_removed(path: Path) -> None:
    """Until then they stay, and what they add up to is in the sums for good."""
    store = SqliteWriter(path, retention=aged(2 * DAY_US))
    tend(store)
    late = [Record("late", (START + 10) * MINUTE_US, 5, None, "", 5, 5)] * 3
    commit = Planner(store.load()).plan([Work("1" * 32, 1, late)], 0)
    commit.label_room = 1
    store.commit(commit)
    of_late = "FROM invocations JOIN models USING (model) WHERE model_id = 'late'"
    for _ in range(10):  # too few to be rolled up before they have waited for a while
        store.tend(NOW_US)
        assert ask(path, f"SELECT COUNT(*) {of_late}") == 3
    tend(store, NOW_US + 2 * MINUTE_US)
    assert ask(path, f"SELECT COUNT(*) {of_late}") == 0
    store.close()
    assert count_window(path, EVERYTHING) == (EVERYTHING, DAYS * DAY + 3)


def test_hardly_more_is_hidden_than_is_removed(path: Path) -> None:
    """An hour of rows at a time: if the clock goes back in the middle of it, all that is left is shown, and whole."""
    store = SqliteWriter(path, retention=aged(2 * DAY_US))
    for _ in range(50):
        assert store.tend(NOW_US)
    rows_from = "(SELECT rows_from FROM rollup_progress)"
    hidden = f"SELECT COUNT(*) FROM invocations WHERE timestamp_us < {rows_from} * {MINUTE_US}"
    removed = ask(path, "SELECT SUM(removed_count) FROM totals")
    assert 0 < removed < 4 * DAY
    assert ask(path, hidden) <= 60
    tend(store, (START + DAY) * MINUTE_US)
    store.close()
    assert ask(path, hidden) <= 60
    assert ask(path, "SELECT SUM(removed_count) FROM totals") <= removed + 60
    since_us = ask(path, f"SELECT {rows_from}") * MINUTE_US + 1
    window = Window(since_us, END * MINUTE_US)
    assert count_window(path, window) == (window, END - since_us // MINUTE_US)


@pytest.mark.parametrize("ahead", [30 * DAY, 500 * DAY])
def test_what_a_clock_of_an_earlier_release_has_hidden_shows_again(path: Path, ahead: int) -> None:
    """It had noted that nothing is kept from before a time to come; nothing is removed by that any longer."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE rollup_progress SET rows_from = ?", (END + ahead,))
        connection.execute("UPDATE rollup_levels SET kept_from = ? WHERE level < 1440", (END + ahead,))
    store = SqliteWriter(path, retention=aged(30 * DAY_US)._replace(hours_us=400 * DAY_US))
    tend(store)
    store.close()
    assert ask(path, "SELECT COUNT(*) FROM invocations") == DAYS * DAY
    assert ask(path, f"SELECT rows_from <= {START} FROM rollup_progress")
    findings = examine(path)
    assert findings.books is not None
    assert findings.books.differences == []


def test_hours_of_which_anything_is_removed_stay_hidden(path: Path) -> None:
    """Whatever the clock says then: what is shown is whole."""
    remove(path, aged(2 * DAY_US))
    rows_from = ask(path, "SELECT rows_from FROM rollup_progress")
    store = SqliteWriter(path, retention=aged(30 * DAY_US))
    for now_us in (NOW_US, 0, NOW_US + 20 * DAY_US):
        tend(store, now_us)
        assert ask(path, "SELECT rows_from FROM rollup_progress") == rows_from == END - 2 * DAY
    store.close()


def test_rows_of_the_future_hide_none_of_today(path: Path) -> None:
    """However large the history is: the oldest hours go, and not the present one."""
    store = SqliteWriter(path, retention=Retention(max_bytes=1))
    planner = Planner(store.load())
    ahead = [Record("ahead", (END + 5 * 365 * DAY) * MINUTE_US, 5)] * 150
    today = [Record("today", NOW_US - MINUTE_US, 5)] * 150
    store.commit(planner.plan([Work("1" * 32, 1, [*ahead, *today])], 0))
    tend(store)
    store.close()
    assert ask(path, "SELECT rows_from FROM rollup_progress") == NOW_US // MINUTE_US // 60 * 60
    assert ask(path, f"SELECT COUNT(*) FROM invocations WHERE timestamp_us < {NOW_US}") == 150
