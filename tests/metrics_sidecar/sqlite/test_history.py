"""How SQLite counts what a filter matches, and what it makes of rows that are being removed. All else that is true of
pages is in `contract`."""

import contextlib
import itertools
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_sidecar.history.queries import HistoryFilter, HistoryPage, HistoryQuery
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.sqlite import counts, rollup_writer
from metrics_sidecar.sqlite.counts import count_window
from metrics_sidecar.sqlite.filters import select
from metrics_sidecar.sqlite.guard import Guard
from metrics_sidecar.sqlite.history import read_history, read_invocation
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType, Record
from tests.metrics_sidecar.history.contract.model import matches

MODELS = ("a", "ab", "b", "\ud7ff", "\U0010ffff", "\U0010ffffa")
MOMENTS = tuple(minute * MINUTE_US + offset for minute in range(0, 12, 3) for offset in (0, 1, MINUTE_US - 1))
"""Few, so that many rows have the same; they are a minute's first two and its last."""
YEAR_9999_US = 253_402_300_799_999_999

moments = st.sampled_from(MOMENTS)
records = st.builds(
    lambda model_id, at, error_type: Record(model_id, at, 1, error_type, "why" if error_type else "", 1, 2),
    st.sampled_from(MODELS),
    moments,
    st.none() | st.sampled_from([ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.GATEWAY_DIED]),
)
batches = st.lists(st.lists(records, min_size=1, max_size=25), min_size=1, max_size=3)
models = st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True).map(tuple)
beginnings = st.sampled_from(["a", "ab", "\ud7ff", "\U0010ffff"])
kinds = st.lists(st.sampled_from([ErrorType.TIMEOUT, ErrorType.CONNECT]), min_size=1, max_size=2, unique=True)
INDEXED: dict[str, st.SearchStrategy[object]] = {
    "models": models,
    "prefixes": st.lists(beginnings, min_size=1, max_size=2, unique=True).map(tuple),
    "status": st.sampled_from(["success", "failure"]),
    "error_types": kinds.map(tuple),
    "since_us": moments,
    "until_us": moments | st.just(YEAR_9999_US),
}


@st.composite
def filters(draw: st.DrawFn) -> HistoryFilter:
    """Of few conditions, because most of many match nothing."""
    names = draw(st.lists(st.sampled_from([*INDEXED]), max_size=3, unique=True))
    return HistoryFilter(**{name: draw(INDEXED[name]) for name in names})  # type: ignore[arg-type] # each its own


class Written(NamedTuple):
    """A store, a connection that reads it, and its rows."""

    store: SqliteWriter
    connection: sqlite3.Connection
    rows: list[Record]
    numbers: Iterator[int]

    def commit(self, batch: list[Record]) -> None:
        self.store.commit(
            Commit(number=next(self.numbers), now_us=1, records=batch, totals=aggregate(batch), label_room=100)
        )
        self.rows.extend(batch)

    def page(self, query: HistoryQuery) -> HistoryPage:
        return read_history(self.connection, query, Guard())


@contextlib.contextmanager
def written(batch: list[Record]) -> Iterator[Written]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.db"
        store = SqliteWriter(path)
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            made = Written(store, connection, [], itertools.count(1))
            made.commit(batch)
            yield made
        finally:
            connection.close()
            store.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done for many rows is done for few."""
    monkeypatch.setattr(rollup_writer, "MIN_WAITING_ROWS", 1)
    monkeypatch.setattr(rollup_writer, "ROWS_PER_GROUP", 1)
    monkeypatch.setattr(counts, "MANY_MODELS", 1)


@given(batches, filters())
@settings(max_examples=200)
def test_windows_are_counted_as_a_search_counts(arriving: list[list[Record]], wanted: HistoryFilter) -> None:
    """Whole minutes from the rollups, the rest from rows; those included that are not rolled up yet."""
    *earlier, last = arriving
    with written([record for batch in earlier for record in batch]) as found:
        while found.store.tend(MOMENTS[-1] + 10 * MINUTE_US):
            pass
        found.commit(last)
        selection = select(found.connection, wanted)
        if selection.lane_count:
            expected = sum(matches(wanted, row) for row in found.rows)
            assert count_window(found.connection, wanted, selection) == expected
            assert counts.count(found.connection, wanted, selection, Guard()) == (expected, True)


def test_rows_that_are_being_removed_are_gone_at_once() -> None:
    """From pages, counts, offsets and by id, as soon as it is noted that they are no longer kept."""
    with written([Record("a", minute * MINUTE_US, 1) for minute in range(10)]) as found:
        while found.store.tend(20 * MINUTE_US):
            pass
        found.connection.execute("UPDATE rollup_progress SET rows_from = 5")
        assert [row.id for row in found.page(HistoryQuery(order="asc")).rows] == ["6", "7", "8", "9", "10"]
        assert found.page(HistoryQuery(limit=1)).total_count == 5
        assert [row.id for row in found.page(HistoryQuery(offset=4)).rows] == ["6"]
        assert read_invocation(found.connection, "5") is None
        assert read_invocation(found.connection, "6") is not None
