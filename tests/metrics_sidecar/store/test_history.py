"""Pages of the history, beside what a plain search over all rows finds."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_sidecar.queries import HistoryFilter, HistoryPage, HistoryQuery, HistoryRow, Order, Position
from metrics_sidecar.rollups import MINUTE_US
from metrics_sidecar.store import counts, history, offsets, rollup_writer
from metrics_sidecar.store.counts import WindowCounter
from metrics_sidecar.store.filters import select
from metrics_sidecar.store.guard import Guard
from metrics_sidecar.store.history import read_history, read_invocation
from metrics_sidecar.store.sqlite import SqliteStore
from metrics_sidecar.totals import aggregate
from metrics_sidecar.transaction import Commit
from shared.record import ErrorType, Record

MODELS = ("a", "ab", "b", "\ud7ff", "\U0010ffff", "\U0010ffffa")
LOGS = ("", "No answer", "no answer 100%")
MOMENTS = tuple(minute * MINUTE_US + offset for minute in range(0, 12, 3) for offset in (0, 1, MINUTE_US - 1))
"""Few, so that many rows have the same; they are a minute's first two and its last."""
YEAR_9999_US = 253_402_300_799_999_999

moments = st.sampled_from(MOMENTS)
records = st.builds(
    lambda model_id, at, latency_us, error_type, log: Record(
        model_id, at, latency_us, error_type, log if error_type else "", 1, 2
    ),
    st.sampled_from(MODELS),
    moments,
    st.integers(0, 3),
    st.none() | st.sampled_from([ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.GATEWAY_DIED]),
    st.sampled_from(LOGS),
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
ALL = INDEXED | {
    "min_latency_us": st.integers(0, 3),
    "max_latency_us": st.integers(0, 3),
    "error_contains": st.sampled_from(["answer", "100%", "NO", "_"]),
}


@st.composite
def filters(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[object]]) -> HistoryFilter:
    """Of few conditions, because most of many match nothing."""
    names = draw(st.lists(st.sampled_from([*fields]), max_size=3, unique=True))
    return HistoryFilter(**{name: draw(fields[name]) for name in names})  # type: ignore[arg-type] # each its own


orders: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])


class Plain(NamedTuple):
    """Rows as they were committed; row n has the id n + 1."""

    rows: list[Record]

    def found(self, wanted: HistoryFilter, order: Order) -> list[tuple[int, int]]:
        """Timestamp and id of all that match, in order."""
        keys = ((row.timestamp_us, number) for number, row in enumerate(self.rows, 1) if matches(wanted, row))
        return sorted(keys, reverse=order == "desc")


def matches(wanted: HistoryFilter, row: Record) -> bool:
    named = row.model_id in wanted.models or any(row.model_id.startswith(prefix) for prefix in wanted.prefixes)
    return (
        (named or not (wanted.models or wanted.prefixes))
        and wanted.status in (None, "success" if row.success else "failure")
        and (not wanted.error_types or row.error_type in wanted.error_types)
        and (wanted.since_us is None or row.timestamp_us >= wanted.since_us)
        and (wanted.until_us is None or row.timestamp_us < wanted.until_us)
        and (wanted.min_latency_us is None or row.latency_us >= wanted.min_latency_us)
        and (wanted.max_latency_us is None or row.latency_us <= wanted.max_latency_us)
        and (not wanted.error_contains or (not row.success and wanted.error_contains in row.error_log))
    )


class Written(NamedTuple):
    """A store, a connection that reads it, and its rows."""

    store: SqliteStore
    connection: sqlite3.Connection
    plain: Plain

    def commit(self, batch: list[Record]) -> None:
        number = len(self.plain.rows) + 1
        self.store.commit(Commit(number=number, now_us=1, records=batch, totals=aggregate(batch), label_room=100))
        self.plain.rows.extend(batch)

    def page(self, query: HistoryQuery) -> HistoryPage:
        return read_history(self.connection, query, Guard())


@contextlib.contextmanager
def written(batch: list[Record]) -> Iterator[Written]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.db"
        store = SqliteStore(path)
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            made = Written(store, connection, Plain([]))
            made.commit(batch)
            yield made
        finally:
            connection.close()
            store.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done for many rows, lanes or pages is done for few."""
    monkeypatch.setattr(rollup_writer, "MIN_WAITING_ROWS", 1)
    monkeypatch.setattr(rollup_writer, "ROWS_PER_GROUP", 1)
    monkeypatch.setattr(history, "MANY_LANES", 4)
    monkeypatch.setattr(history, "SCANNED_ROWS", 5)
    monkeypatch.setattr(history, "KEYS_AT_ONCE", 1)
    monkeypatch.setattr(offsets, "DEEP", 3)
    monkeypatch.setattr(counts, "FEW_ROWS", 2)
    monkeypatch.setattr(counts, "FEW_ROWS_PER_MODEL", 1)
    monkeypatch.setattr(counts, "MANY_MODELS", 1)


@given(batches, filters(ALL), orders, st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=200)
def test_pages_by_cursor_are_what_a_search_finds(
    arriving: list[list[Record]], wanted: HistoryFilter, order: Order, limit: int, rolled_up: bool
) -> None:
    """Each page goes on where the last one ended, whatever arrived between them; its count is that of all."""
    first, *later = arriving
    with written(first) as found:
        while rolled_up and found.store.tend(MOMENTS[-1] + 10 * MINUTE_US):
            pass
        after: Position | None = None
        while True:
            page = found.page(HistoryQuery(filter=wanted, order=order, limit=limit, after=after))
            expected = found.plain.found(wanted, order)
            assert (page.total_count, page.total_count_is_exact) == (len(expected), True)
            if after is not None:
                end = (after.timestamp_us, after.id)
                expected = [key for key in expected if (key < end if order == "desc" else key > end)]
            assert [(row.timestamp_us, row.id) for row in page.rows] == expected[:limit]
            assert [as_record(row) for row in page.rows] == [found.plain.rows[row.id - 1] for row in page.rows]
            assert (page.next is None) == (len(expected) <= limit)
            if page.next is None:
                return
            after = page.next
            if later:
                found.commit(later.pop(0))


@given(batches, filters(ALL), orders, st.integers(0, 40), st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=200)
def test_pages_by_offset_are_what_a_search_finds(
    arriving: list[list[Record]], wanted: HistoryFilter, order: Order, offset: int, limit: int, rolled_up: bool
) -> None:
    """At any depth, with and without rollups."""
    with written([record for batch in arriving for record in batch]) as found:
        while rolled_up and found.store.tend(MOMENTS[-1] + 10 * MINUTE_US):
            pass
        page = found.page(HistoryQuery(filter=wanted, order=order, limit=limit, offset=offset))
        expected = found.plain.found(wanted, order)
        assert [(row.timestamp_us, row.id) for row in page.rows] == expected[offset : offset + limit]
        assert page.total_count == len(expected)
        assert (page.next is None) == (offset + limit >= len(expected))


@given(batches, filters(INDEXED), st.sampled_from([0, 1000]))
@settings(deadline=None, max_examples=200)
def test_windows_are_counted_as_a_search_counts(
    arriving: list[list[Record]], wanted: HistoryFilter, few_rows: int
) -> None:
    """Whole minutes from the rollups, the rest from rows; those included that are not rolled up yet. And few rows in
    an index."""
    *earlier, last = arriving
    with written([record for batch in earlier for record in batch]) as found:
        while found.store.tend(MOMENTS[-1] + 10 * MINUTE_US):
            pass
        found.commit(last)
        selection = select(found.connection, wanted)
        if selection.lane_count:
            counter = WindowCounter(found.connection, wanted, selection)
            expected = len(found.plain.found(wanted, "asc"))
            assert counter.count(selection.since_us, selection.until_us) == expected
            with mock.patch.object(counts, "FEW_ROWS", few_rows):
                assert counts.count(found.connection, wanted, selection, Guard()) == (expected, True)


def test_a_row_is_found_by_its_id() -> None:
    """And none by an id that no row has."""
    record = Record("a", 5, 6, ErrorType.TIMEOUT, "why", 7, 8, "0" * 32)
    with written([record]) as found:
        row = read_invocation(found.connection, 1)
        assert row == HistoryRow(1, "a", 5, 6, ErrorType.TIMEOUT, "why", 7, 8, "0" * 32)
        assert read_invocation(found.connection, 2) is None


def test_rows_that_are_being_removed_are_gone_at_once() -> None:
    """From pages, counts, offsets and by id, as soon as it is noted that they are no longer kept."""
    with written([Record("a", minute * MINUTE_US, 1) for minute in range(10)]) as found:
        while found.store.tend(20 * MINUTE_US):
            pass
        found.connection.execute("UPDATE rollup_progress SET rows_from = 5")
        assert [row.id for row in found.page(HistoryQuery(order="asc")).rows] == [6, 7, 8, 9, 10]
        assert found.page(HistoryQuery(limit=1)).total_count == 5
        assert [row.id for row in found.page(HistoryQuery(offset=4)).rows] == [6]
        assert read_invocation(found.connection, 5) is None
        assert read_invocation(found.connection, 6) is not None


def as_record(row: HistoryRow) -> Record:
    return Record(
        row.model_id,
        row.timestamp_us,
        row.latency_us,
        row.error_type,
        row.error_log,
        row.input_size,
        row.output_size,
        row.trace_id,
    )
