"""The ledger on a real SQLite file: counted once, in one transaction, read back the same."""

import asyncio
from unittest.mock import Mock, patch

import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import HistoryQuery, StoreError
from metrics_sidecar.ledger.labelled import Labelled
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit, Work
from metrics_sidecar.metrics.live import Live
from shared.record import OVERFLOW_MODEL_ID, ErrorType
from tests.metrics_sidecar.ledgers import PRODUCER, Open, record
from tests.metrics_sidecar.tables import counts


async def test_history_stats_and_published_totals_agree_and_survive_a_restart(open_books: Open) -> None:
    """The three views of one commit are equal, and equal again when the file is opened anew."""
    books = open_books()
    records = [record("a", 5), record("a", 7_000_000, ErrorType.TIMEOUT), record("b", 9)]
    assert await books.commit(1, *records) == 3
    expected = aggregate(records)
    assert books.totals == expected
    await books.close()

    again = open_books()
    assert again.totals == expected
    counted = {label: totals.count for label, totals in expected.items()}
    assert counts(await again.reader.aggregate(Ask())) == counted
    assert counts(await again.reader.aggregate(Ask(models=("a",)))) == {"a": counted["a"]}
    page = await again.reader.page(HistoryQuery(order="asc"))
    assert [(row.model_id, row.latency_us, row.error_type) for row in page.rows] == [
        ("a", 5, None),
        ("a", 7_000_000, ErrorType.TIMEOUT),
        ("b", 9, None),
    ]
    assert page.total_count == 3
    assert again.ledger.committed(PRODUCER) == 3


async def test_a_batch_sent_again_adds_nothing(open_books: Open) -> None:
    """Wholly or partly known records are recognised, before and after a restart."""
    books = open_books()
    await books.commit(1, record(), record())
    assert await books.commit(1, record(), record()) == 2
    assert await books.commit(2, record(), record()) == 3
    await books.close()
    again = open_books()
    assert await again.commit(1, record(), record(), record(), record()) == 4
    assert again.totals["m"].count == 4
    assert (await again.reader.page(HistoryQuery())).total_count == 4


async def test_producers_have_sequences_of_their_own(open_books: Open) -> None:
    """The same sequence from another producer is another record."""
    books = open_books()
    await asyncio.gather(*(books.commit(1, record(), producer=f"{number:032x}") for number in range(5)))
    assert counts(await books.reader.aggregate(Ask(models=("m",)))) == {"m": books.totals["m"].count} == {"m": 5}


async def test_a_hole_in_the_sequence_is_counted_once(open_books: Open) -> None:
    """Missing records are reported, and still known after a restart."""
    books = open_books()
    await books.commit(1, record())
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    books.ledger.submit(Work(PRODUCER, 5, [record()], done=done.set_result))
    assert await done == 5
    assert [published.missing_count for published in books.published] == [3]
    await books.close()
    assert open_books().ledger.state.missing_count == 3


async def test_models_beyond_the_cap_share_a_label(open_books: Open) -> None:
    """It is decided once: raising the cap later moves no count, neither in what is published nor in the store."""
    books = open_books(max_models=2)
    await books.commit(1, *(record(model_id) for model_id in ("a", "b", "c", "d", "a")))
    assert {label: totals.count for label, totals in books.totals.items()} == {"a": 2, "b": 1, OVERFLOW_MODEL_ID: 2}
    await books.close()
    again = open_books(max_models=3)
    await again.commit(6, record("c"), record("e"), record("f"))
    counted = counts(await again.reader.aggregate(Ask()))
    assert {label: totals.count for label, totals in again.totals.items()} == counted
    assert counted[OVERFLOW_MODEL_ID] >= 2
    assert len(counted) == 4


async def test_when_a_label_began_is_kept(open_books: Open) -> None:
    """It is published with the label's first totals, and is the same after a restart; so for the shared one."""
    books = open_books(max_models=1)
    await books.commit(1, record("a"))
    await books.commit(2, record("b"))
    await books.commit(3, record("a"), record("c"))
    begun = dict(books.created_us)
    assert [*begun] == ["a", OVERFLOW_MODEL_ID]
    assert 0 < begun["a"] <= begun[OVERFLOW_MODEL_ID]
    await books.close()
    assert open_books(max_models=1).ledger.state.created_us == begun


async def test_a_retired_producer_leaves_no_cursor(open_books: Open) -> None:
    """The set of cursors doesn't grow with every worker that ever lived."""
    books = open_books()
    await books.commit(1, record())
    await books.submit(Work(PRODUCER, retire=True))
    assert books.ledger.committed(PRODUCER) == 0
    await books.close()
    assert open_books().ledger.state.producers == {}


async def test_reported_counters_add_up_over_reports_producers_and_restarts(open_books: Open) -> None:
    """A report repeats absolute values; only what grew is added, once."""
    books = open_books()

    def report(producer: str, value: int) -> Work:
        return Work(producer, reported={"invoker_records_dropped_total": {"journal_full": value}})

    for work in (report(PRODUCER, 2), report(PRODUCER, 2), report(PRODUCER, 5), report("1" * 32, 1)):
        await books.submit(work)
    await books.close()
    again = open_books()
    assert again.ledger.state.counters == {"invoker_records_dropped_total": {"journal_full": 6}}
    await again.submit(report(PRODUCER, 5))
    await again.close()
    assert open_books().ledger.state.counters == {"invoker_records_dropped_total": {"journal_full": 6}}


async def test_a_defect_shows_and_does_not_end_the_ledger(open_books: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a store raises, nothing is acknowledged, the reason is told, and it is tried again."""
    books = open_books()
    real_commit, errors = books.store.commit, [OverflowError("too large")]

    def commit(planned: Commit) -> list[str]:
        if errors:
            raise errors[0]
        return real_commit(planned)

    monkeypatch.setattr(books.store, "commit", commit)
    waiting = asyncio.ensure_future(books.commit(1, record()))
    while not books.failures:
        await asyncio.sleep(0.01)
    assert books.ledger.failure == "OverflowError: too large"
    errors.clear()
    assert await waiting == 1


async def test_nothing_is_acknowledged_until_the_store_takes_it(
    open_books: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While commits fail, work waits and is tried again; then all of it is committed once."""
    books = open_books()
    real_commit, refused = books.store.commit, ["disk full"]

    def commit(planned: Commit) -> list[str]:
        if refused:
            raise StoreError(refused[0])
        return real_commit(planned)

    monkeypatch.setattr(books.store, "commit", commit)
    waiting = asyncio.ensure_future(books.commit(1, record(), record()))
    while not books.failures:
        await asyncio.sleep(0.01)
    reason = books.ledger.failure
    assert reason == "disk full"
    assert not waiting.done()
    refused.clear()
    assert await waiting == 2
    assert books.ledger.failure is None
    assert books.totals["m"].count == 2


async def test_a_defect_after_a_commit_counts_nothing_twice(open_books: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is started again: it reads what the store has, acknowledges it, and goes on. No view keeps less."""
    books = open_books()
    await books.commit(1, record())
    live = Live(books.ledger.state, 2000)
    monkeypatch.setattr(books.ledger, "_on_committed", live.apply)
    monkeypatch.setattr(books.ledger, "_on_reloaded", live.reload)
    failing = patch.object(Labelled, "count", side_effect=AssertionError("a defect"))
    failing.start()
    waiting = asyncio.ensure_future(books.commit(2, record("n"), record("n")))
    while not books.ledger.reasons:
        await asyncio.sleep(0.01)
    assert books.ledger.reasons == [
        "the ledger can't commit: ledger failed and is started again: AssertionError: a defect"
    ]
    failing.stop()
    assert await waiting == 3
    assert await books.commit(4, record("n")) == 4
    assert {model: totals.count for model, totals in live.totals.items()} == {"m": 1, "n": 3}
    await books.close()
    again = open_books()
    assert {model: totals.count for model, totals in again.totals.items()} == {"m": 1, "n": 3}


async def test_a_view_that_fails_keeps_no_producer_waiting(open_books: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is acknowledged."""
    books = open_books()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    error = AssertionError("a defect")
    monkeypatch.setattr(books.ledger, "_on_committed", Mock(side_effect=error))
    assert await books.commit(1, record()) == 1
    assert told == [error]
    assert books.ledger.waiting_records == 0
