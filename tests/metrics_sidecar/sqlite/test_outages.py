"""Pages of successes where there are few."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, Order, Position
from metrics_sidecar.history.rollups import MINUTE_US
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.filters import select
from metrics_sidecar.sqlite.history import read_keys
from metrics_sidecar.sqlite.sqlite import SqliteStore
from shared.record import ErrorType, Record
from tests.metrics_sidecar.sqlite.test_plans import steps_of

FIRST, LAST = 1_000_000, 1_000_000 + 30 * 60
"""The minutes before and after an outage of 30 hours."""


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A success of each of two models, 3,600 failures, and a success of one of them."""
    monkeypatch.setattr(rollup_writer, "MIN_WAITING_ROWS", 1)
    monkeypatch.setattr(rollup_writer, "ROWS_PER_GROUP", 1)
    ended = [Record(model, FIRST * MINUTE_US, 1) for model in "ab"]
    failed = [
        Record(model, minute * MINUTE_US, 1, ErrorType.TIMEOUT, "why")
        for minute in range(FIRST + 1, LAST)
        for model in "ab"
    ]
    batch = [*ended, *failed, Record("a", LAST * MINUTE_US, 1)]
    store = SqliteStore(tmp_path / "history.db")
    store.commit(Commit(number=1, now_us=1, records=batch, totals=aggregate(batch), label_room=9))
    while store.tend((LAST + 24 * 60) * MINUTE_US):
        pass
    connection = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    yield connection
    connection.close()
    store.close()


@pytest.mark.parametrize("models", [(), ("a",), ("a", "b")], ids=["all", "one", "some"])
@pytest.mark.parametrize(("order", "expected"), [("desc", FIRST), ("asc", LAST)])
def test_failures_before_the_next_success_are_not_read(
    connection: sqlite3.Connection, order: Order, expected: int, models: tuple[str, ...]
) -> None:
    """However many they are, and wherever between them a page begins."""
    wanted = HistoryFilter(status="success", models=models)
    after = Position((FIRST + 900) * MINUTE_US, 0)
    query = HistoryQuery(filter=wanted, order=order, after=after, limit=1)
    keys: list[tuple[int, int]] = []
    steps = steps_of(connection, lambda: keys.extend(read_keys(connection, select(connection, wanted), query)))
    assert {abs(timestamp_us) for timestamp_us, _ in keys} == {expected * MINUTE_US}
    assert steps < 4000


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_where_all_has_failed_nothing_is_read(connection: sqlite3.Connection, order: Order) -> None:
    """A window without any success has an empty page at once."""
    wanted = HistoryFilter(status="success", since_us=(FIRST + 1) * MINUTE_US + 1, until_us=LAST * MINUTE_US - 1)
    keys: list[tuple[int, int]] = []
    query = HistoryQuery(filter=wanted, order=order)
    steps = steps_of(connection, lambda: keys.extend(read_keys(connection, select(connection, wanted), query)))
    assert keys == []
    assert steps < 4000


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_success_that_is_not_rolled_up_yet_is_not_left_out(connection: sqlite3.Connection, order: Order) -> None:
    """In the middle of the outage, known later than what came after it."""
    at_us = (FIRST + 900) * MINUTE_US
    connection.execute(
        "INSERT INTO invocations SELECT MAX(id) + 1, 1, ?, 1, 1, 1, NULL, NULL, NULL FROM invocations", (at_us,)
    )
    wanted = HistoryFilter(status="success")
    after = Position(at_us + (-1 if order == "asc" else 1) * 100 * MINUTE_US, 0)
    query = HistoryQuery(filter=wanted, order=order, after=after, limit=1)
    keys = read_keys(connection, select(connection, wanted), query)
    assert abs(keys[0][0]) == at_us


def test_successes_after_the_end_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last larger bucket is not full: what comes after the window may be in the same one, and is not found."""
    monkeypatch.setattr(rollup_writer, "MIN_WAITING_ROWS", 1)
    monkeypatch.setattr(rollup_writer, "ROWS_PER_GROUP", 1)
    start = FIRST // 10 * 10
    failed = {2, 3, 4, 5, 6}
    batch = [
        Record("a", (start + minute) * MINUTE_US, 1, ErrorType.TIMEOUT if minute in failed else None, "why")
        for minute in range(8)
    ]
    store = SqliteStore(tmp_path / "history.db")
    store.commit(Commit(number=1, now_us=1, records=batch, totals=aggregate(batch), label_room=9))
    while store.tend((start + 4) * MINUTE_US):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as connection:
        wanted = HistoryFilter(status="success", until_us=(start + 6) * MINUTE_US)
        keys = read_keys(connection, select(connection, wanted), HistoryQuery(filter=wanted, limit=1))
    assert abs(keys[0][0]) == (start + 1) * MINUTE_US
    store.close()
