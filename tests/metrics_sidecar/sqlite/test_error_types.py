"""Error types that this release doesn't know: those of a later one, that a history has in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, Status
from metrics_sidecar.history.windows import Window
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType, Record
from tests.metrics_sidecar.ledgers import Books, record

LATER = "a_later_kind"


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    books = Books(tmp_path / "history.db", 10)
    await books.commit(
        1,
        record(at=1),
        Record("m", 2, 1000, LATER, "why"),
        record(error_type=ErrorType.TIMEOUT, at=3),
        Record("other", 4, 1000, LATER, "why"),
    )
    yield books
    await books.close()


@pytest.mark.parametrize(
    ("status", "error_types", "expected"),
    [
        (None, (), [1, 2, 3, 4]),
        ("failure", (), [2, 3, 4]),
        ("success", (), [1]),
        (None, (LATER,), [2, 4]),
        (None, (LATER, "timeout"), [2, 3, 4]),
        (None, ("never_stored",), []),
    ],
)
async def test_rows_are_found_by_them(
    books: Books, status: Status | None, error_types: tuple[str, ...], expected: list[int]
) -> None:
    """As by any other; and failures are all that have one."""
    for models in ((), ("m", "other", "none")):
        wanted = HistoryFilter(status=status, error_types=error_types, models=models)
        page = await books.reader.page(HistoryQuery(filter=wanted, order="asc"))
        assert [int(row.id) for row in page.rows] == expected
        assert page.total_count == len(expected)
    assert {row.error_type for row in page.rows} <= {None, "timeout", LATER}


async def test_they_are_counted_by_their_names(books: Books, tmp_path: Path) -> None:
    """In totals, over time, in the books, and again after a restart."""
    expected = {"m": {LATER: 1, "timeout": 1}, "other": {LATER: 1}}
    assert {model: totals.errors for model, totals in books.totals.items()} == expected
    for ask in (Ask(errors=True), Ask(window=Window(0, 100), errors=True)):
        table = await books.reader.aggregate(ask)
        assert dict(zip(table.groups, table.errors, strict=True)) == expected
    store = SqliteWriter(tmp_path / "history.db")
    assert {model: totals.errors for model, totals in store.load().totals.items()} == expected
    store.close()
    snapshot = SqliteAudit(tmp_path / "history.db")
    assert snapshot.reconcile(None).consistent
    snapshot.close()
