"""Since when rows are that wait to be rolled up, as all threads of a reader learn it."""

import contextlib
import sqlite3
from pathlib import Path
from random import Random

import pytest

from metrics_sidecar.history.rollups import MINUTE_US
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.rollups import read_progress
from metrics_sidecar.sqlite.waiting import WaitingRows
from shared.record import MAX_TIMESTAMP_US
from tests.metrics_sidecar.sqlite.test_rollups import START, History, make_record, reading

NONE_WAITS_US = MAX_TIMESTAMP_US + 1


def true_earliest_us(connection: sqlite3.Connection) -> int:
    where, arguments = read_progress(connection).waiting(together=True)
    query = f"SELECT MIN(timestamp_us) FROM invocations WHERE {where}"
    earliest_us: int | None = connection.execute(query, arguments).fetchone()[0]
    return NONE_WAITS_US if earliest_us is None else earliest_us


def told_us(waiting: WaitingRows, connection: sqlite3.Connection) -> int:
    return waiting.earliest_us(connection, read_progress(connection))


@pytest.mark.parametrize("seed", range(10))
def test_no_row_that_waits_is_earlier(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one of an older snapshot. Once all rows wait that were looked at, it is exact; and none waits at the end."""
    monkeypatch.setattr(rollup_writer, "MIN_WAITING_ROWS", 20)
    monkeypatch.setattr(rollup_writer, "GROUPS_AT_ONCE", 2)
    history, random, waiting = History(tmp_path / "history.db"), Random(seed), WaitingRows()
    exact = 0
    with reading(history.path) as newer, reading(history.path) as older:
        older.execute("BEGIN")
        for minute in range(START, START + 60):
            late = random.randrange(30) if random.random() < 0.1 else random.random()
            history.commit([make_record(random, minute - late) for _ in range(random.randrange(1, 8))])
            for _ in range(random.randrange(4)):
                history.store.tend(minute * MINUTE_US)
            if random.random() < 0.3:
                older.execute("COMMIT")
                older.execute("BEGIN")
            for connection in random.sample([newer, older], 2):
                assert told_us(waiting, connection) <= true_earliest_us(connection)
            exact += told_us(waiting, newer) == true_earliest_us(newer)
        assert exact > 30
        for minute in (START + 70, START + 72):
            while history.store.tend(minute * MINUTE_US):
                pass
        assert told_us(waiting, newer) == NONE_WAITS_US
        assert told_us(WaitingRows(), newer) == NONE_WAITS_US
    history.store.close()


def test_a_row_is_looked_at_once(tmp_path: Path) -> None:
    """Not with each question."""
    history, random, waiting = History(tmp_path / "history.db"), Random(1), WaitingRows()
    history.commit([make_record(random, START + 5) for _ in range(500)])
    with contextlib.closing(sqlite3.connect(history.path)) as connection:
        earliest_us = told_us(waiting, connection)
        assert earliest_us == true_earliest_us(connection) > START * MINUTE_US
        with connection:
            connection.execute("UPDATE invocations SET timestamp_us = 1 WHERE id < 500")
        assert told_us(waiting, connection) == earliest_us
        history.commit([make_record(random, START)])
        assert told_us(waiting, connection) < earliest_us
    history.store.close()
