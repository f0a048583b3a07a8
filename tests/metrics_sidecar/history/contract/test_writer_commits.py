"""Commits: all of each, once, for good, and in the state that is loaded."""

import asyncio
import time
from random import Random

import msgspec
import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery
from metrics_sidecar.history.retention import Upkeep
from metrics_sidecar.history.windows import MINUTE_US, Window
from metrics_sidecar.ledger.times import ANY_TIME
from metrics_sidecar.ledger.transaction import Origin, State, Work
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID, Record
from tests.metrics_sidecar.history.contract.arrivals import END_US, FULLY, START, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.history import again_and_again
from tests.metrics_sidecar.history.contract.model import as_record
from tests.metrics_sidecar.tables import counts

EVERYTHING = Window(0, END_US)
REJECTED, DROPPED = "invoker_requests_rejected_total", "invoker_records_dropped_total"


async def test_a_new_history_is_empty(open_history: OpenHistory) -> None:
    """Whatever it is asked, it is no error."""
    history = open_history()
    assert history.writer.load() == State()
    assert history.writer.upkeep == Upkeep(0, None, 0)
    arrivals = Arrivals(1)
    for question in (HistoryQuery(), arrivals.page(), arrivals.sums(), arrivals.window(), arrivals.series()):
        await history.check(question)
    assert await history.reader.one("1") is None
    assert await history.exported(Export("ndjson")) == b""
    history.tend(END_US)
    assert history.writer.load() == State()


class Gateways:
    """Producers that send, report, lose and retire."""

    def __init__(self, seed: int) -> None:
        self._arrivals = Arrivals(seed)
        self._random = Random(seed)
        self._sent: dict[str, int] = {}
        self._reported: dict[str, dict[str, dict[str, int]]] = {}

    def work(self) -> Work:
        random = self._random
        producer_id = f"{random.randrange(8):032x}"
        match random.randrange(10):
            case 0:
                self._sent.pop(producer_id, None)
                self._reported.pop(producer_id, None)
                return Work(producer_id, retire=True)
            case 1 | 2:
                counters = self._reported.setdefault(producer_id, {}).setdefault(random.choice([REJECTED, DROPPED]), {})
                reason = random.choice(["invalid_json", "disk_full"])
                counters[reason] = counters.get(reason, 0) + random.randrange(9)
                return Work(producer_id, reported={name: dict(v) for name, v in self._reported[producer_id].items()})
            case 3:
                return Work(producer_id)  # it is seen
        gap = random.randrange(1, 50) if random.random() < 0.2 else 0
        first = self._sent.get(producer_id, 0) + 1 + gap
        records = self._arrivals.records(random.randrange(1, 20), minutes=10)
        self._sent[producer_id] = first + len(records) - 1
        return Work(producer_id, first, records)


@pytest.mark.parametrize("seed", range(2))
async def test_the_state_is_what_commits_have_left(open_history: OpenHistory, seed: int) -> None:
    """Number, accounts, counters, totals by label and what is missing: while it is open, and later."""
    history = open_history()
    gateways, random = Gateways(seed), Random(seed)
    for number in range(1, 101):
        should, granted = history.commit(*(gateways.work() for _ in range(random.randrange(1, 4))), now_us=number)
        assert should == granted
        if random.random() < 0.2:
            history.writer.tend(END_US, busy=random.random() < 0.5)
        if random.random() < 0.1:
            assert history.model.state() == history.writer.load()
        if random.random() < 0.1:
            history.reopen()
            assert history.model.state() == history.writer.load()
    assert len(history.model.retired) > 3 < len(history.model.gaps)
    assert history.model.state() == history.writer.load()
    await history.check(Ask(errors=True))


async def test_labels_are_given_to_the_first_and_for_good(open_history: OpenHistory) -> None:
    """In the order in which models come, as long as there is room; more room later moves no count."""
    history = open_history()
    history.add([Record("a", 1, 1)], labels=3)
    should, granted = history.commit(Work("1" * 32, 1, [Record(m, 1, 1) for m in "dcbae"]), labels=3)
    assert should == granted == ["d", "c"]
    history.reopen()
    should, granted = history.commit(Work("1" * 32, 6, [Record(m, 1, 1) for m in "befgda"]), labels=4)
    assert should == granted == ["f"]
    expected = {"a": 3, "d": 2, "c": 1, "f": 1, OVERFLOW_MODEL_ID: 5}
    assert expected == {label: one.count for label, one in history.writer.load().totals.items()}
    assert expected == counts(await history.reader.aggregate(Ask()))
    await history.check(Ask(models=tuple("abcdefgx")))


async def test_sums_end_at_the_largest_integer(open_history: OpenHistory) -> None:
    """Totals, counters, windows and series stay there, tended or not; what is missing is counted beyond it."""
    history = open_history()
    minute_us = START * MINUTE_US
    question = Ask(window=EVERYTHING, **FULLY)
    series = Ask(window=Window(minute_us, minute_us + 10 * MINUTE_US), step_minutes=5, by=None, percents=(99,))
    for sequence in range(1, 4):
        huge = [Record("a", minute_us + sequence, MAX_COUNT, None, "", MAX_COUNT, MAX_COUNT)] * 20
        reported = {REJECTED: {"x": MAX_COUNT, "y": MAX_COUNT - sequence}}
        history.commit(Work("1" * 32, sequence * 20 - 19, huge), Work(f"{sequence:032x}", reported=reported))
        history.commit(Work(f"{sequence + 8:032x}", 2**62, [Record("b", minute_us, 1)]))
        history.commit(Work(f"{sequence + 8:032x}", 2**63 - 1, [Record("b", minute_us, 0)], retire=sequence > 1))
        assert history.model.state() == history.writer.load()
        history.tend(END_US)
        await history.check(question)
        await history.check(series)
    history.reopen()
    state = history.writer.load()
    assert history.model.state() == state
    assert (state.totals["a"].latency_us, state.counters[REJECTED]) == (MAX_COUNT, {"x": MAX_COUNT, "y": MAX_COUNT})
    assert state.missing_count > MAX_COUNT
    snapshot = history.backend.open_audit()
    assert snapshot.reconcile(None).differences == []
    snapshot.close()


async def test_nobody_sees_a_part_of_a_commit(open_history: OpenHistory) -> None:
    """However large it is, and however it is looked at."""
    history = open_history()
    size = 2000
    history.add([Record("first", START * MINUTE_US, 1)])
    steps = Ask(window=Window(START * MINUTE_US, END_US), step_minutes=5, by=None)
    only_these = HistoryFilter(prefixes=("a", "b"))
    reader = history.reader
    seen: list[tuple[str, int]] = []

    left = iter(range(30))  # what is looked at would grow as fast as it is read otherwise

    def write() -> None:
        if next(left, None) is None:
            time.sleep(0.01)
            return
        history.add([Record("ab"[n % 2], (START + n % 7) * MINUTE_US, n, None, "", 1) for n in range(size)])
        history.writer.tend(END_US, busy=False)

    async with again_and_again(write):
        for _ in range(4):
            page = await reader.page(HistoryQuery(filter=only_these, limit=1))
            window = await reader.aggregate(Ask(window=EVERYTHING, models=("a", "b")))
            series = await reader.aggregate(steps)
            totals = await reader.aggregate(Ask())
            snapshot = await asyncio.to_thread(history.backend.open_audit)
            books = await asyncio.to_thread(snapshot.reconcile, None)
            snapshot.close()
            seen += [
                ("page", page.total_count),
                ("window", sum(counts(window).values())),
                ("series", sum(counts(series).values()) - 1),
                ("totals", sum(counts(totals).values()) - 1),
                ("snapshot", books.checked.rows - 1),
            ]
    assert [(what, count) for what, count in seen if count % size] == []
    assert len(set(seen)) > 2


async def test_a_commit_is_there_when_it_has_returned(open_history: OpenHistory) -> None:
    """For all reads, at once."""
    history, arrivals = open_history(), Arrivals(3)
    questions = HistoryQuery(limit=1000), Ask(window=EVERYTHING), Ask(window=EVERYTHING, step_minutes=1440)
    for number in range(15):
        history.add(arrivals.records(5, minutes=2))
        for question in questions[number % 3 :]:
            await history.check(question)
        await history.check(Ask(errors=True))
        assert len(history.model.records) == len(await history.rows())


async def test_histories_are_kept_apart(open_history: OpenHistory) -> None:
    """What is committed to one is in no other, wherever both are kept."""
    one, other = open_history("one"), open_history("other")
    arrivals = Arrivals(4)
    for _ in range(3):
        one.add(arrivals.records(20))
    other.add(Arrivals(5).records(30))
    for history in (one, other):
        assert history.model.state() == history.writer.load()
        await history.check(Ask(errors=True))
        assert [record.latency_us for record in history.model.records] == [
            row.latency_us for row in await history.rows()
        ]


async def test_closing_is_idempotent(open_history: OpenHistory) -> None:
    """Of the writer and of readers, whether something was asked or not; what was committed stays."""
    history = open_history()
    history.add([Record("a", 1, 2)])
    assert counts(await history.reader.aggregate(Ask())) == {"a": 1}
    unasked = history.backend.open_reader()
    snapshot = history.backend.open_audit()
    for _ in range(2):
        unasked.close()
        history.reader.close()
        snapshot.close()
        history.writer.close()
    history.reopen()
    assert history.model.state() == history.writer.load()


def test_what_it_takes_is_told_in_bytes(open_history: OpenHistory) -> None:
    """Or not at all."""
    history = open_history()
    history.add(Arrivals(1).records(50))
    use = history.backend.measure_disk()
    if use is not None:
        assert use.history_bytes > 0
        assert 0 <= use.free_bytes <= use.size_bytes


async def test_a_commit_that_is_given_again_changes_nothing(open_history: OpenHistory) -> None:
    """As by a ledger that wasn't told that it is stored; the labels that came with it are told again."""
    history = open_history()
    records = [Record(model_id, 1, 1, None, "", mark) for mark, model_id in enumerate("aabcd")]
    history.add(records[:1], labels=2)
    commit = history.planner.plan([Work("1" * 32, 1, records[1:4])], 0)
    commit.label_room = 1
    granted = history.writer.commit(commit)
    history.planner.applied(commit)
    assert history.model.apply(commit) == granted
    for reopened in (False, True):
        if reopened:
            history.reopen()
        assert {*granted} <= {*history.writer.commit(commit)} <= {"a", "b"}
        assert history.model.state() == history.writer.load()
        assert history.model.records == [as_record(row) for row in await history.rows()]
    history.add(records[4:])
    assert history.model.state() == history.writer.load()
    assert history.model.records == [as_record(row) for row in await history.rows()]


async def test_rows_of_other_histories_are_known_again(open_history: OpenHistory) -> None:
    """By their history and their ids there, in whatever order they come; they are counted as imports, and nowhere else
    than in the books are they told from others."""
    history, arrivals = open_history(), Arrivals(6)
    other, ids = "a" * 32, arrivals.random.sample(range(1, 50_000), 300)
    history.add(arrivals.records(50))
    for first in range(0, 300, 100):
        there = ids[first : first + 100]
        assert history.writer.known(other, there) == [False] * 100
        commit = history.planner.plan_import(Origin(other, there), arrivals.records(100, minutes=99), 0, ANY_TIME)
        history.writer.commit(commit)
        history.writer.commit(commit)
        history.model.apply(commit)
        history.planner.applied(commit)
        history.add(arrivals.records(20))
        assert history.model.state() == history.writer.load()
        if first:
            history.tend(END_US)
            history.reopen()
        assert history.writer.known(other, ids) == [True] * (first + 100) + [False] * (200 - first)
    assert history.writer.known("b" * 32, ids) == [False] * 300
    history.tend(END_US)
    await history.check(Ask(window=EVERYTHING, **FULLY))
    await history.check(HistoryQuery(limit=1000))
    snapshot = history.backend.open_audit()
    books = snapshot.reconcile(None)
    snapshot.close()
    assert (books.differences, books.checked.sequences, books.checked.imported) == ([], 110, 300)


async def test_a_history_knows_its_own_rows(open_history: OpenHistory) -> None:
    """By the name that its exports have, which stays; and none that it never had."""
    history = open_history()
    history.add(Arrivals(7).records(30))
    exported = [msgspec.json.decode(line) for line in (await history.exported(Export("ndjson"))).splitlines()]
    assert {line["store"] for line in exported} == {history.writer.identity}
    history.reopen()
    assert {line["store"] for line in exported} == {history.writer.identity}
    ids = [line["id"] for line in exported]
    assert history.writer.known(history.writer.identity, [*ids, max(ids) + 1]) == [True] * 30 + [False]
