"""Between commits the ledger has its store do what keeps it quick."""

import asyncio
from unittest.mock import patch

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.history.windows import MINUTE_US, Window
from metrics_sidecar.sqlite import rollup_writer
from metrics_sidecar.sqlite.writer import SqliteWriter
from tests.metrics_sidecar.ledgers import Open, record
from tests.metrics_sidecar.tables import counts

EVERYTHING = Window(0, MINUTE_US)


async def waiting(store: SqliteWriter, rows: int) -> bool:
    """Whether so many rows come to wait, and no more."""
    for _ in range(500):
        if store.upkeep.waiting_rows == rows:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_rows_are_rolled_up_after_their_commit(open_books: Open) -> None:
    """Without anything else to wake the ledger; and again after a restart."""
    with patch.multiple(rollup_writer, MIN_WAITING_ROWS=2, ROWS_PER_GROUP=1, ROWS_PER_GROUP_BUSY=1):
        books = open_books()
        await books.commit(1, *(record("a", at=at) for at in range(3)))
        assert await waiting(books.store, 0)
        await books.close()
        again = open_books()
        await again.commit(4, record("a", at=5), record("b", at=6))
        assert await waiting(again.store, 0)
        table = await again.reader.aggregate(Ask(window=EVERYTHING))
    assert counts(table) == {"a": 4, "b": 1}


async def test_few_rows_wait_and_are_counted(open_books: Open) -> None:
    """A roll-up is for many."""
    books = open_books()
    await books.commit(1, record("a"), record("b"))
    assert await waiting(books.store, 2)
    assert counts(await books.reader.aggregate(Ask(window=EVERYTHING, models=("b",)))) == {"b": 1}


async def test_what_cannot_be_done_now_holds_up_no_commit(open_books: Open) -> None:
    """It is tried again, and told once."""
    with patch.multiple(rollup_writer, MIN_WAITING_ROWS=1, ROWS_PER_GROUP=1, ROWS_PER_GROUP_BUSY=1):
        with patch.object(SqliteWriter, "tend", side_effect=StoreError("disk full")) as tend:
            books = open_books()
            for sequence in range(1, 6):
                assert await books.commit(sequence, record("a")) == sequence
            assert 1 <= tend.call_count < 5
        await books.commit(6, record("a"))
        assert await waiting(books.store, 0)
    assert books.failures == []
