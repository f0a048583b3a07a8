"""Pages of the history, beside what a plain search over all records finds."""

import asyncio
import contextlib

import msgspec
import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, Position
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from tests.metrics_sidecar.history.contract.arrivals import END_US, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.history import History
from tests.metrics_sidecar.history.contract.model import as_record, in_order, key


def filled(history: History, arrivals: Arrivals, batches: int = 15) -> History:
    """With records of two days, most of which are tended to."""
    for _ in range(batches):
        history.add(arrivals.records(25, minutes=200))
        for _ in range(arrivals.random.randrange(20)):
            history.writer.tend(arrivals.now_us, busy=False)
    return history


@pytest.mark.parametrize("seed", range(2))
async def test_pages_are_what_a_search_finds(open_history: OpenHistory, seed: int) -> None:
    """Rows, their order, their count and whether there are more: for any filter, order, limit and offset."""
    arrivals = Arrivals(seed)
    history = filled(open_history(), arrivals)
    for _ in range(150):
        query = arrivals.page(deepest=400)
        await history.check(query)


@pytest.mark.parametrize("seed", range(2))
async def test_pages_lead_through_outages(open_history: OpenHistory, seed: int) -> None:
    """To the successes before, between and after them that are within the bounds, from any row on."""
    arrivals = Arrivals(seed)
    history, random = open_history(), arrivals.random
    for _ in range(20):
        history.add(arrivals.outages(20))
        tended_us = arrivals.now_us - random.randrange(20) * MINUTE_US
        history.tend(tended_us)
        rows = (await history.reader.page(HistoryQuery(limit=40))).rows
        history.model.note_ids(rows)
        for _ in range(15):
            row = random.choice(rows)
            since_us, until_us = sorted(tended_us + random.randrange(-40, 20) * MINUTE_US // 2 for _ in range(2))
            wanted = HistoryFilter(
                status="success",
                since_us=random.choice([None, since_us]),
                until_us=random.choice([None, until_us]),
                models=random.choice([(), ("a",), ("a", "b", "A")]),
            )
            query = HistoryQuery(
                filter=wanted,
                order=arrivals.order(),
                limit=random.choice([1, 2, 5]),
                after=Position(row.timestamp_us, row.id) if random.random() < 0.3 else None,
            )
            await history.check(query)


async def test_pages_go_on_after_any_row(open_history: OpenHistory) -> None:
    """Whether it matches or not; the count is that of all."""
    arrivals = Arrivals(2)
    history = filled(open_history(), arrivals)
    rows = await history.rows()
    for _ in range(150):
        row = arrivals.random.choice(rows)
        query = msgspec.structs.replace(arrivals.page(), offset=0, after=Position(row.timestamp_us, row.id))
        await history.check(query)


@pytest.mark.parametrize("seed", range(2))
async def test_a_walk_by_cursor_meets_each_row_once(open_history: OpenHistory, seed: int) -> None:
    """All that were there at its begin, and of those that come meanwhile, early and late, the ones ahead of it."""
    arrivals = Arrivals(seed)
    history = filled(open_history(), arrivals, batches=6)
    for _ in range(8):
        query = msgspec.structs.replace(arrivals.page(), offset=0, limit=arrivals.random.choice([3, 10, 40]))
        there = {key(record) for record in history.model.rows(query.filter)}
        met = []
        while True:
            page = await history.reader.page(query)
            await history.check(query)
            met += [as_record(row) for row in page.rows]
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=page.next)
            if arrivals.random.random() < 0.3:
                history.add(arrivals.records(4, minutes=10))
                history.writer.tend(arrivals.now_us, busy=False)
        assert met == in_order(met, query.order)
        assert len({key(record) for record in met}) == len(met)
        assert there <= {key(record) for record in met}


async def test_a_row_is_found_by_its_id(open_history: OpenHistory) -> None:
    """After a restart, too; and nothing by what is no row's."""
    arrivals = Arrivals(3)
    history = filled(open_history(), arrivals, batches=3)
    history.reopen()
    filled(history, arrivals, batches=2)
    rows = await history.rows()
    assert history.model.records == [as_record(row) for row in rows]
    ids = {row.id for row in rows}
    assert len(ids) == len(rows)
    for row in arrivals.random.sample(rows, 30):
        assert await history.reader.one(row.id) == row
    for row_id in {"", "0", "-1", "01", "1.0", " 1", "x", "١", f"{2**63 - 1}", f"{2**64}", "9" * 30} - ids:
        assert await history.reader.one(row_id) is None


async def test_many_reads_at_once_have_each_their_own_answer(open_history: OpenHistory) -> None:
    """Of whatever kind they are."""
    arrivals = Arrivals(4)
    history = filled(open_history(), arrivals, batches=5)
    await history.rows()
    questions = [arrivals.question() for _ in range(60)]
    answers = await asyncio.gather(*map(history.ask, questions))
    for question, found in zip(questions, answers, strict=True):
        assert (question, history.model.answer(question, found)) == (question, found)


async def test_a_read_that_is_given_up_is_no_trouble_for_the_next(open_history: OpenHistory) -> None:
    """Cancelled or timed out, before it has begun, in the middle or nearly done."""
    arrivals = Arrivals(5)
    history = filled(open_history(), arrivals, batches=8)
    await history.reader.start()
    everything = Window(0, END_US)
    for number in range(40):
        question = (HistoryQuery(), Ask(window=everything), Ask(window=everything, step_minutes=DAY))[number % 3]
        read = history.ask(question)
        delay_s = number // 2 * 0.0005
        if number % 2:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(read, delay_s)
        else:
            task = asyncio.ensure_future(read)
            await asyncio.sleep(delay_s)
            task.cancel()
            await asyncio.wait([task])
        if number % 5 == 0:
            history.add(arrivals.records(3))
        for question in (Ask(window=everything), HistoryQuery(filter=HistoryFilter(status="failure"))):
            await history.check(question)
