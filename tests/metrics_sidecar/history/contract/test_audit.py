"""One state to be checked, while commits go on."""

import asyncio

import pytest

from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.live import LiveCopy
from tests.metrics_sidecar.history.contract.arrivals import END_US, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.history import History, again_and_again

REJECTED = "invoker_requests_rejected_total"


def some(history: History, arrivals: Arrivals) -> None:
    """Of everything something: gaps, retired producers, counters, models without a label."""
    for number in range(1, 7):
        producer_id = f"{number:032x}"
        records = arrivals.records(30, minutes=300)
        history.commit(Work(producer_id, number, records), Work(producer_id, reported={REJECTED: {"x": number}}))
        if number % 3 == 0:
            history.commit(Work(producer_id, retire=True))
        history.writer.tend(arrivals.now_us, busy=False)


async def test_a_snapshot_stays_as_it_is(open_history: OpenHistory) -> None:
    """Number and books are those of one transaction, whatever is committed and tended meanwhile."""
    history, arrivals = open_history(), Arrivals(1)
    some(history, arrivals)
    model = history.model
    number, count = model.state().number, len(model.records)
    snapshot = history.backend.open_audit()
    assert snapshot.commits() == number
    for _ in range(3):
        history.add(arrivals.records(50))
        history.tend(END_US)
        assert snapshot.commits() == number
        books = snapshot.reconcile(None)
        assert (books.differences, books.consistent) == ([], True)
        checked = books.checked
        assert (checked.commits, checked.rows, checked.totals, checked.sequences) == (number, count, count, count)
    snapshot.close()
    again = history.backend.open_audit()
    assert again.commits() == model.state().number > number
    assert again.reconcile(None).checked.rows == len(model.records) > count
    again.close()


async def test_a_check_is_of_one_state_without_being_asked_for_its_number(open_history: OpenHistory) -> None:
    """While commits follow each other there is no false alarm."""
    history, arrivals = open_history(), Arrivals(2)
    some(history, arrivals)
    numbers = []

    def write() -> None:
        history.add(arrivals.records(20))
        history.writer.tend(arrivals.now_us, busy=False)

    async with again_and_again(write):
        for _ in range(15):
            snapshot = await asyncio.to_thread(history.backend.open_audit)
            books = await asyncio.to_thread(snapshot.reconcile, None)
            assert books.differences == []
            numbers.append(books.checked.commits)
            assert snapshot.commits() == numbers[-1]
            snapshot.close()
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_the_books_are_all_that_was_committed(open_history: OpenHistory) -> None:
    """Models, producers, sequences of those that have retired, and each gap, in the order in which they were found."""
    history, arrivals = open_history(), Arrivals(3)
    some(history, arrivals)
    model = history.model
    state = model.state()
    snapshot = history.backend.open_audit()
    books = snapshot.reconcile(LiveCopy(model.totals(), state.counters))
    snapshot.close()
    assert (books.differences, books.consistent) == ([], True)
    checked = books.checked
    assert checked.counters
    assert (checked.models, checked.producers) == (len(model.labels), len(state.producers))
    accepted = sum(producer.accepted for producer in (*model.retired, *state.producers.values()))
    assert checked.sequences == accepted == len(model.records)
    assert (books.missing.count, books.missing.gap_count) == (state.missing_count, len(model.gaps))
    told = [(gap.producer_id, gap.first_sequence, gap.last_sequence) for gap in books.missing.gaps]
    assert [(gap.producer_id, gap.first_sequence, gap.last_sequence) for gap in model.gaps] == told


def test_what_was_not_shown_is_told(open_history: OpenHistory) -> None:
    """A counter or a total that is not what the store has is a difference."""
    history, arrivals = open_history(), Arrivals(4)
    some(history, arrivals)
    counters = history.model.state().counters
    totals = history.model.totals()
    totals.popitem()
    counters[REJECTED]["x"] += 1
    snapshot = history.backend.open_audit()
    books = snapshot.reconcile(LiveCopy(totals, counters))
    snapshot.close()
    assert not books.consistent
    assert {"counters: success_count", f"counters: {REJECTED} x"} <= {one.what for one in books.differences}


async def test_a_check_that_is_interrupted_ends(open_history: OpenHistory) -> None:
    """With a `StoreError`; it can be closed then, and the next one is as good as any."""
    history, arrivals = open_history(), Arrivals(5)
    for _ in range(4):
        history.add(arrivals.records(5000, minutes=100))
    snapshot = history.backend.open_audit()
    number = snapshot.commits()
    checking = asyncio.create_task(asyncio.to_thread(snapshot.reconcile, None))
    while not checking.done():
        snapshot.interrupt()
        await asyncio.sleep(0)
    with pytest.raises(StoreError):
        await checking
    snapshot.close()
    again = history.backend.open_audit()
    assert again.commits() == number
    again.close()
