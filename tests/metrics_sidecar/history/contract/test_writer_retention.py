"""What is old is removed, and no sum is changed by it."""

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.history.retention import KEEP_ALL, Retention
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from shared.record import Record
from tests.metrics_sidecar.history.contract.arrivals import END_US, FULLY, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.history import History, decode_lines
from tests.metrics_sidecar.history.contract.model import as_record
from tests.metrics_sidecar.tables import counts

DAY_US = DAY * MINUTE_US
A_DAY = Retention(rows_us=DAY_US, minutes_us=DAY_US)


def three_days(history: History, arrivals: Arrivals) -> None:
    for _ in range(36):
        history.add(arrivals.records(25, minutes=120))
        for _ in range(5):
            history.writer.tend(arrivals.now_us, busy=False)


def remove(history: History, now_us: int) -> None:
    """All that is too old at this time; it is noted in the model, too."""
    history.tend(now_us)
    history.model.rows_from_us = A_DAY.kept(now_us).rows * MINUTE_US


async def check(history: History, arrivals: Arrivals, questions: int) -> None:
    assert history.model.state() == history.writer.load()
    assert history.model.rows() == [as_record(row) for row in await history.rows()]
    for _ in range(questions):
        question = arrivals.question()
        await history.check(question)


async def test_old_rows_go_and_every_sum_stays(open_history: OpenHistory) -> None:
    """From pages, their counts, by id and from exports; not from totals, nor from what is told of a time."""
    history, arrivals = open_history(retention=A_DAY), Arrivals(1)
    three_days(history, arrivals)
    everything = Ask(window=Window(0, END_US), **FULLY)
    before = await history.reader.aggregate(everything)
    ids = {row.id for row in await history.rows()}
    remove(history, END_US + 90 * MINUTE_US)
    await check(history, arrivals, 60)
    left = {row.id for row in await history.rows()}
    assert 0 < len(left) < len(history.model.records) / 2
    for row_id in arrivals.random.sample(sorted(ids - left), 10):
        assert await history.reader.one(row_id) is None
    found = decode_lines(await history.exported(Export("ndjson")))
    assert history.model.rows() == [record for _, record in found]
    after = await history.reader.aggregate(everything)
    assert history.model.answer(everything, after) == after
    assert counts(before) == counts(after)


async def test_rows_go_as_time_does(open_history: OpenHistory) -> None:
    """With late ones among them, which are counted all the same, and through restarts."""
    history, arrivals = open_history(retention=A_DAY), Arrivals(2)
    three_days(history, arrivals)
    for hours in (1, 5, 6, 20):
        history.add(arrivals.records(60))
        remove(history, END_US + hours * 60 * MINUTE_US)
        await check(history, arrivals, 15)
        history.reopen()
        await check(history, arrivals, 5)


async def test_ids_are_never_used_again(open_history: OpenHistory) -> None:
    """Not even when all rows are gone: who has seen an id finds no other invocation under it."""
    history, arrivals = open_history(retention=A_DAY), Arrivals(3)
    three_days(history, arrivals)
    seen = {row.id for row in await history.rows()}
    history.tend(END_US + 3 * DAY_US)
    assert await history.rows() == []
    for number in range(3):
        history.reopen()
        history.add([Record("a", END_US + 3 * DAY_US, 5, None, "", len(history.model.records))])
        rows = await history.rows()
        assert len(rows) == number + 1
        assert seen.isdisjoint(row.id for row in rows)
        assert history.model.records[-1 - number :] == [as_record(row) for row in rows]


async def test_what_was_removed_is_told(open_history: OpenHistory) -> None:
    """How many rows since the store was opened, and from when the oldest is that is left; the books agree."""
    history, arrivals = open_history(), Arrivals(4)
    three_days(history, arrivals)
    now_us = END_US + 2 * 60 * MINUTE_US
    history.tend(now_us)
    assert history.writer.upkeep.removed_rows == 0
    assert history.writer.upkeep.oldest_us == min(record.timestamp_us for record in history.model.records)
    history.reopen(A_DAY)
    remove(history, now_us)
    removed = len(history.model.records) - len(history.model.rows())
    assert history.writer.upkeep.removed_rows == removed
    assert history.writer.upkeep.oldest_us == min(record.timestamp_us for record in history.model.rows())
    snapshot = history.backend.open_audit()
    books = snapshot.reconcile(None)
    snapshot.close()
    assert (books.differences, books.checked.rows_removed) == ([], removed)
    assert books.checked.rows + removed == books.checked.totals == len(history.model.records)


async def test_without_a_limit_all_is_kept(open_history: OpenHistory) -> None:
    """However old it is; and with a limit that nothing exceeds."""
    history, arrivals = open_history(), Arrivals(5)
    three_days(history, arrivals)
    for retention in (KEEP_ALL, Retention(rows_us=30 * DAY_US, minutes_us=30 * DAY_US, max_bytes=2**50)):
        history.reopen(retention)
        history.tend(END_US + 10 * DAY_US)
        await check(history, arrivals, 5)


async def test_too_large_a_history_loses_its_oldest_rows(open_history: OpenHistory) -> None:
    """The older ones first, and no sum."""
    history, arrivals = open_history(), Arrivals(6)
    three_days(history, arrivals)
    history.tend(END_US)
    history.reopen(Retention(max_bytes=1))
    counts = set()
    more = True
    while more:
        more = history.writer.tend(END_US + DAY_US, busy=False)
        page = await history.reader.page(HistoryQuery(order="asc", limit=1))
        if page.rows and page.total_count not in counts:
            counts.add(page.total_count)
            history.model.rows_from_us = page.rows[0].timestamp_us
            assert len(history.model.rows()) == page.total_count
    assert len(counts) > 1
    history.model.rows_from_us = END_US  # what is told of times before is told by hours or days
    assert history.model.state() == history.writer.load()
    everything = Ask(window=Window(0, END_US), **FULLY)
    await history.check(everything)
