"""`metrics-sidecar mend-times`: what wrong clocks have left in a history is undone, and the books agree."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from metrics_sidecar.commands.mend_command import mend
from metrics_sidecar.commands.verify import examine
from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.reckoning import Reckoning
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite.aggregate import read_aggregate
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import MAX_TIMESTAMP_US, Record
from shared.settings import StartupError
from tests.metrics_sidecar.tables import counts

NOW = 20_000 * DAY + 700
NOW_US = NOW * MINUTE_US + 5
DAY_US = DAY * MINUTE_US
FUTURE_US = (3 * DAY_US, 1825 * DAY_US, MAX_TIMESTAMP_US - NOW_US)


class FixedClock:
    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def monotonic_us(self) -> int:
        return 0


def ask(path: Path, sql: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def write(path: Path, tended_us: int) -> int:
    """A history of a release that believed any clock: rows of the last days, and some of the future."""
    store = SqliteWriter(path)
    planner = Planner(store.load())
    past = [Record("abc"[number % 3], NOW_US - number * MINUTE_US, 1000 + number) for number in range(3 * DAY)]
    ahead = [Record("ab"[number % 2], NOW_US + off_us, 5) for off_us in FUTURE_US for number in range(20)]
    commit = planner.plan([Work("0" * 32, 1, [*past, *ahead])], NOW_US)
    commit.label_room = 10
    store.commit(commit)
    for now_us in (tended_us, tended_us + 2 * MINUTE_US):
        while store.tend(now_us):
            pass
    store.close()
    return len(past) + len(ahead)


@pytest.mark.parametrize("tended_us", [NOW_US, NOW_US + 500 * DAY_US])
def test_rows_of_the_future_are_of_now(tmp_path: Path, tended_us: int, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted there in all sums, whether these were made under a right clock or not; it can be done again."""
    path = tmp_path / "history.db"
    count = write(path, tended_us)
    assert mend(tmp_path, FixedClock(NOW_US)) == 0
    assert "60 rows were from later than tomorrow" in capsys.readouterr().out
    assert ask(path, "SELECT MAX(timestamp_us) FROM invocations") == NOW_US
    assert ask(path, "SELECT MAX(last_timestamp_us) FROM totals") == NOW_US
    assert ask(path, f"SELECT COUNT(*) FROM invocations WHERE timestamp_us = {NOW_US}") == 61
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for since in (NOW, NOW // 10 * 10, NOW // 60 * 60, NOW // DAY * DAY):
            table = read_aggregate(connection, Ask(window=Window(since * MINUTE_US, NOW_US + 1)))
            assert sum(counts(table).values()) == 60 + NOW - since + 1
    findings = examine(path)
    assert findings.books is not None
    assert (findings.books.differences, findings.books.checked.rows) == ([], count)
    assert mend(tmp_path, FixedClock(NOW_US)) == 0
    assert "0 rows were" in capsys.readouterr().out
    store = SqliteWriter(path)
    more = Planner(store.load()).plan([Work("1" * 32, 1, [Record("a", NOW_US + MINUTE_US, 5)] * 5000)], NOW_US)
    store.commit(more)
    while store.tend(NOW_US + 3 * DAY_US):
        pass
    store.close()
    findings = examine(path)
    assert findings.books is not None
    assert (findings.books.differences, findings.books.checked.rows) == ([], count + 5000)


def test_a_blind_history_sees_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that a clock 60 days ahead has left: all that is there is shown, and the clock is believed at once."""
    path = tmp_path / "history.db"
    write(path, NOW_US)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE rollup_progress SET rows_from = ?", (NOW // 60 * 60 + 30 * DAY,))
        connection.execute("UPDATE rollup_levels SET kept_from = ? WHERE level < 60", (NOW // 60 * 60 + 30 * DAY,))
    mend(tmp_path, FixedClock(NOW_US))
    assert "; before, it was from " in capsys.readouterr().out
    assert ask(path, "SELECT rows_from FROM rollup_progress") <= NOW - 3 * DAY
    store = SqliteWriter(path, retention=Retention(rows_us=30 * DAY_US, minutes_us=30 * DAY_US))
    assert Reckoning(store.load().time, FixedClock(NOW_US + DAY_US)).aged_us == NOW_US
    store.close()
    findings = examine(path)
    assert findings.books is not None
    assert findings.books.differences == []


def test_a_sidecar_that_was_off_believes_the_clock_at_once(tmp_path: Path) -> None:
    """Which is what the command is told by being run."""
    write(tmp_path / "history.db", NOW_US)
    mend(tmp_path, FixedClock(NOW_US + 60 * DAY_US))
    store = SqliteWriter(tmp_path / "history.db")
    reckoning = Reckoning(store.load().time, FixedClock(NOW_US + 60 * DAY_US))
    assert (reckoning.aged_us, reckoning.concern) == (NOW_US + 60 * DAY_US, None)
    store.close()


def test_what_cannot_be_mended_is_said(tmp_path: Path) -> None:
    """There is no history, or it is none."""
    with pytest.raises(StartupError, match=r"history\.db"):
        mend(tmp_path, FixedClock(NOW_US))
    (tmp_path / "history.db").write_bytes(b"precious" * 1000)
    with pytest.raises(StartupError, match=r"history\.db"):
        mend(tmp_path, FixedClock(NOW_US))
