"""What the ledger's thread does with its work, step by step: with store, clock and waits that tests hold in hand."""

import asyncio
import functools
import itertools
import threading
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.history.retention import KEEP_ALL, Retention, Upkeep
from metrics_sidecar.history.windows import DAY_US
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.ledger import FORGET_PRODUCERS_AFTER_US, Ledger
from metrics_sidecar.ledger.reckoning import TimeState
from metrics_sidecar.ledger.totals import ModelTotals, aggregate
from metrics_sidecar.ledger.transaction import Commit, Gap, Producer, State, UnreadRecord, Work
from shared.record import OVERFLOW_MODEL_ID, Record

P, Q = "0" * 32, "1" * 32
NOW_US = 20_000 * DAY_US
SLICE_S = 0.25


class Clock:
    """Of each kind; `perf_counter` goes on with each slice of tending."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_us(self) -> int:
        return NOW_US

    def monotonic_us(self) -> int:
        return 0

    def perf_counter(self) -> float:
        return self.now_s


class FakeStore:
    """Takes what it is told to take, and has so many slices to tend."""

    def __init__(self, clock: Clock, state: State) -> None:
        self._clock = clock
        self.state = state
        self._labels = {*state.totals}
        self.given: list[Commit] = []
        self.commits: list[Commit] = []
        self.errors: list[Exception] = []
        self.slices = 0
        self.unread: list[UnreadRecord] = []
        self.tended: list[tuple[int, bool, int | None]] = []
        self.loaded = self.closed = 0

    def load(self) -> State:
        self.loaded += 1
        return self.state

    def commit(self, commit: Commit) -> list[str]:
        self.given.append(commit)
        if self.errors:
            raise self.errors.pop(0)
        self.commits.append(commit)
        granted = [model_id for model_id in commit.totals if model_id not in self._labels][: commit.label_room]
        self._labels.update(granted)
        return granted

    def read_unread(self, after_id: int, limit: int) -> list[UnreadRecord]:
        if self.errors:
            raise self.errors.pop(0)
        return [each for each in self.unread if each.id > after_id][:limit]

    @property
    def identity(self) -> str:
        return "0" * 32

    def known(self, _history: str, ids: Sequence[int]) -> list[bool]:
        return [False] * len(ids)

    def tend(self, now_us: int, *, busy: bool, aged_us: int | None = None) -> bool:
        self._clock.now_s += SLICE_S
        self.tended.append((now_us, busy, aged_us))
        if self.errors:
            raise self.errors.pop(0)
        self.slices -= 1
        return self.slices > 0

    @property
    def upkeep(self) -> Upkeep:
        return Upkeep(0, None, 0)

    @property
    def failures(self) -> list[str]:
        return []

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A ledger whose thread isn't started."""

    def __init__(
        self,
        state: State | None = None,
        *,
        max_models: int = 9,
        retention: Retention = KEEP_ALL,
        live: bool | None = None,
    ) -> None:
        self.clock = Clock()
        self.store = FakeStore(self.clock, state or State(time=TimeState(offset_us=NOW_US)))
        self.published: list[Committed] = []
        self.failed: list[str] = []
        self.reloaded: list[State] = []
        make_ledger = Ledger if live is None else functools.partial(Ledger, live=live)
        self.ledger = make_ledger(
            self.store,
            self.clock,
            max_models,
            self.published.append,
            self.failed.append,
            on_reloaded=self.reloaded.append,
            retention=retention,
        )


def work(count: int, first_sequence: int = 1, producer: str = P) -> Work:
    return Work(producer, first_sequence, [Record("m", NOW_US, 5)] * count)


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([1], [[1]]),
        ([4096, 4096, 1], [[4096, 4096], [1]]),
        ([4096, 4095, 1, 1], [[4096, 4095, 1], [1]]),
        ([4096, 4095, 0, 0], [[4096, 4095, 0], [0]]),
        ([4096, 4095], [[4096, 4095]]),
        ([8192], [[8192]]),
    ],
)
async def test_a_transaction_has_so_many_records(counts: list[int], groups: list[list[int]]) -> None:
    """Or a frame that it is exceeded by; work without any counts for one. The last is told from those before it."""
    bench = Bench()
    ledger = bench.ledger
    for count in counts:
        ledger.submit(work(count))
    assert ledger.waiting_records == sum(counts)
    found = [ledger._next_group(0.0) for _ in groups]
    assert [([len(one.records) for one in group], last) for group, last in found] == [
        (group, False) for group in groups
    ]
    assert ledger._next_group(0.0) == ([], False)
    ledger.submit(work(1))
    await ledger.close()
    assert ledger._next_group(0.0) == ([work(1)], True)


async def test_a_full_transaction_is_not_the_last_before_the_end_is_seen() -> None:
    """The end comes alone then."""
    ledger = Bench().ledger
    ledger.submit(work(8192))
    await ledger.close()
    assert [last for _, last in (ledger._next_group(0.0), ledger._next_group(0.0))] == [False, True]


@pytest.mark.parametrize(("labels", "room"), [(0, 3), (2, 1), (3, 0), (4, 0)])
async def test_what_is_planned_has_room_for_labels(labels: int, room: int) -> None:
    """So many as are allowed beside the shared one, and never fewer than none."""
    totals = {f"{number}": ModelTotals(1) for number in range(labels)}
    bench = Bench(State(totals={**totals, OVERFLOW_MODEL_ID: ModelTotals(1)}), max_models=3)
    assert bench.ledger._plan([work(1)]).label_room == room


@pytest.mark.parametrize("live", [True, False])
async def test_times_are_of_what_is_kept_and_tell_which_time_it_is(live: bool) -> None:
    """A row that would be removed at once is of now, one from after tomorrow as well; but what is read from a copy is
    as old as it says, and says nothing of the time."""
    state = State(time=TimeState(running_us=7, offset_us=None if live else NOW_US - 7))
    bench = Bench(state, retention=Retention(rows_us=DAY_US), live=None if live else False)
    first = bench.ledger._plan([Work(P, 1, [Record("m", NOW_US - 5, 5)])])
    assert first.time is not None
    assert (first.time.has_records, first.time.offset_us) == (live, NOW_US - 7 - 5 * live)
    times_us = [NOW_US - DAY_US - 3600 * 10**6 - 1, NOW_US - DAY_US, NOW_US + DAY_US, NOW_US + DAY_US + 1]
    commit = bench.ledger._plan([Work(P, 1, [Record("m", time_us, 5) for time_us in times_us])])
    found = [record.timestamp_us for record in commit.records]
    assert found == [NOW_US if live else times_us[0], *times_us[1:3], NOW_US]
    assert commit.clamped == ({"past": 1, "future": 1} if live else {"future": 1})
    assert (commit.now_us, commit.running_us) == (NOW_US, 7)


async def test_tending_takes_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice, and a pause of four times as long; in which nothing is done, however often it is asked for."""
    bench = Bench()
    monkeypatch.setattr("time.perf_counter", bench.clock.perf_counter)
    bench.store.slices = 3
    clock, ledger, tended = bench.clock, bench.ledger, bench.store.tended
    pause_s = 4 * SLICE_S
    assert ledger.tending.tend(0) == pause_s
    assert tended == [(NOW_US, False, NOW_US)]
    clock.now_s += pause_s - SLICE_S
    assert (ledger.tending.tend(0), len(tended)) == (SLICE_S, 1)
    clock.now_s += SLICE_S
    assert (ledger.tending.tend(0), len(tended)) == (pause_s, 2)
    clock.now_s += pause_s
    assert (ledger.tending.tend(0), len(tended)) == (1.0, 3)
    assert (ledger.tending.tend(0), len(tended)) == (1.0, 4)


@pytest.mark.parametrize(("busy_s", "slices"), [(SLICE_S / 2, 1), (SLICE_S, 1), (SLICE_S + 0.01, 2), (3 * SLICE_S, 3)])
async def test_tending_beside_many_records(monkeypatch: pytest.MonkeyPatch, busy_s: float, slices: int) -> None:
    """For so many seconds, at least a slice, whatever pause there was to be."""
    bench = Bench()
    monkeypatch.setattr("time.perf_counter", bench.clock.perf_counter)
    bench.store.slices = 100
    bench.ledger.tending.tend(0)
    bench.store.tended.clear()
    assert bench.ledger.tending.tend(busy_s) == 4 * slices * SLICE_S
    assert bench.store.tended == [(NOW_US, True, NOW_US)] * slices
    bench.store.slices = 1
    bench.store.tended.clear()
    assert bench.ledger.tending.tend(9.0) == 1.0
    assert len(bench.store.tended) == 1


async def test_tending_that_fails_is_tried_again_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy it is; told once, until it works again."""
    bench = Bench()
    monkeypatch.setattr("time.perf_counter", bench.clock.perf_counter)
    ledger, store = bench.ledger, bench.store
    with capture_logs() as logged:
        for count in (1, 2):
            store.errors = [StoreError("disk full")]
            assert ledger.tending.tend(0) == 1.0
            assert ledger.tending.failure == "StoreError: disk full"
            bench.clock.now_s += 1.0 - 0.25
            assert [ledger.tending.tend(0), ledger.tending.tend(9.0)] == [0.25, 0.25]
            assert len(store.tended) == count
            bench.clock.now_s += 0.25
        assert ledger.tending.tend(0) == 1.0
        assert (ledger.tending.failure, len(store.tended)) == (None, 3)
    assert [line["event"] for line in logged] == ["ledger.tending_failed"]


class Waits:
    """In the place of the event that tells of the end: how long was waited for it, and after how often it came."""

    def __init__(self, until: int) -> None:
        self.waited: list[float] = []
        self._until = until

    def wait(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return len(self.waited) == self._until


@pytest.mark.parametrize("error", [StoreError("disk full"), ValueError("a defect")])
async def test_what_the_store_refuses_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The very same, as it may be stored; sooner at first, then once a second, until the end. After a defect all is
    read anew."""
    bench = Bench()
    ledger, store = bench.ledger, bench.store
    is_defect = not isinstance(error, StoreError)
    waits = Waits(7)
    monkeypatch.setattr(ledger, "_closing", waits)
    store.errors = [error] * 7
    with capture_logs() as logged:
        assert not ledger._commit_group([work(1)])
        await asyncio.sleep(0)
    assert waits.waited == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    reason = "ValueError: a defect" if is_defect else "disk full"
    assert (bench.failed, ledger.failure) == ([reason] * 7, reason)
    assert ledger.reasons == [f"the ledger can't commit: {reason}"]
    assert [line["event"] for line in logged] == ["ledger.commit_failed"]
    assert (store.loaded, len(bench.reloaded)) == ((7, 6) if is_defect else (1, 0))
    assert (len(store.given), len(set(map(id, store.given)))) == (7, 7 if is_defect else 1)
    store.errors = [error]
    with capture_logs() as logged:
        assert ledger._commit_group([work(1)])
        await asyncio.sleep(0)
    assert (ledger.failure, ledger.reasons, len(bench.published)) == (None, [], 1)
    assert [line["event"] for line in logged] == ["ledger.commit_works_again"]


async def test_what_was_counted_is_published_by_labels() -> None:
    """What is beyond the labels together, and when each label began; with what was sent again and what is missing."""
    state = State(
        4, {P: Producer(10, 10)}, totals={"a": ModelTotals(3, min_latency_us=1)}, time=TimeState(offset_us=NOW_US)
    )
    bench = Bench(state, max_models=2)
    ledger = bench.ledger
    records = [
        Record(model_id, NOW_US + at, 5, trace_id=f"{at:032x}")
        for at, model_id in enumerate(("old", "a", "b", "c", "d", "c", "c"))
    ]
    records[-1] = Record("c", 2 * NOW_US, 5)
    groups = ([Work(P, 10, records[:3])], [Work(P, 15, records[3:]), Work(Q, 2, [Record("b", NOW_US, 5)])])
    with capture_logs() as logged:
        for group in groups:
            for one in group:
                ledger.submit(one)
            assert ledger._commit_group(group)
            await asyncio.sleep(0)
    first, second = bench.published
    assert (first.number, first.record_count, first.duplicate_count, first.missing_count) == (5, 2, 1, 0)
    assert (second.number, second.record_count, second.duplicate_count, second.missing_count) == (6, 5, 0, 3)
    assert {label: totals.count for label, totals in first.totals.items()} == {"a": 4, "b": 1}
    assert {label: totals.count for label, totals in second.totals.items()} == {OVERFLOW_MODEL_ID: 4, "b": 2}
    assert first.created_us == {"b": NOW_US}
    assert second.created_us == {OVERFLOW_MODEL_ID: NOW_US}
    assert (first.clamped, second.clamped) == ({}, {"future": 1})
    assert [exemplar.trace_id for exemplar in second.exemplars[OVERFLOW_MODEL_ID].values()] == [f"{5:032x}"]
    assert [*first.exemplars] == ["a", "b"]
    assert (ledger.waiting_records, ledger.committed(P), ledger.committed(Q)) == (0, 18, 2)
    assert [(line["producer"], line["first"], line["last"], line["count"]) for line in logged] == [
        (P, 13, 14, 2),
        (Q, 1, 1, 1),
    ]
    assert bench.store.commits[1].gaps == [Gap(P, 13, 14), Gap(Q, 1, 1)]


@pytest.mark.parametrize("count", [511, 512])
async def test_a_large_transaction_is_followed_by_more_tending(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """For half as long as it took; and a small one by a slice at the most."""
    bench = Bench(live=False)  # which has nothing to read again
    ticks = itertools.count(0.0, 8.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    tended: list[float] = []
    waited: list[float] = []
    halves = work(count // 2), work(count - count // 2, 1 + count // 2)

    def tend(busy_s: float) -> float:
        tended.append(busy_s)
        return 60.0

    def next_group(wait_s: float) -> tuple[list[Work], bool]:
        waited.append(wait_s)
        return ([*halves], False) if len(waited) == 1 else ([work(1, 1 + count)], True)

    monkeypatch.setattr(bench.ledger.tending, "tend", tend)
    monkeypatch.setattr(bench.ledger, "_next_group", next_group)
    await asyncio.to_thread(bench.ledger._run)
    await asyncio.sleep(0)
    # From the start of the transaction to its end, between which two more looks at the clock are.
    assert tended == [0 if count < 512 else 24.0 * 0.5]
    assert waited == [0.0, 60.0]
    assert [one.record_count for one in bench.published] == [count, 1]


@pytest.mark.parametrize(
    ("unseen_us", "stays"), [(0, True), (FORGET_PRODUCERS_AFTER_US, True), (FORGET_PRODUCERS_AFTER_US + 1, False)]
)
async def test_who_is_forgotten_at_the_start(unseen_us: int, stays: bool) -> None:
    """Whoever was not seen for more than 90 days of running; next time, if the store can't now."""
    running_us = 2 * FORGET_PRODUCERS_AFTER_US
    state = State(4, {P: Producer(3, 3, 0, running_us - unseen_us)}, time=TimeState(running_us=running_us))
    bench = Bench(state)
    assert len(bench.store.commits) == (not stays)
    assert bench.ledger.committed(P) == (3 if stays else 0)
    assert bench.ledger.state.number == (4 if stays else 5)
    assert all(commit.running_us == running_us for commit in bench.store.commits)


async def test_who_cannot_be_forgotten_now_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that is known of it."""
    monkeypatch.setattr(FakeStore, "commit", lambda *_: (_ for _ in ()).throw(StoreError("disk full")))
    running_us = 2 * FORGET_PRODUCERS_AFTER_US
    bench = Bench(State(4, {P: Producer(3, 3)}, time=TimeState(running_us=running_us)))
    assert (bench.ledger.committed(P), bench.ledger.state.number) == (3, 4)


async def test_the_store_is_closed_once_all_is_committed() -> None:
    """Once, however often it is asked for, with a thread or without."""
    for started in (True, False):
        bench = Bench()
        if started:
            bench.ledger.start()
        bench.ledger.submit(work(1))
        for _ in range(2):
            await bench.ledger.close()
        assert (bench.store.closed, len(bench.store.commits)) == (1, int(started))
    assert "ledger" not in [thread.name for thread in threading.enumerate()]


async def test_after_a_defect_all_is_read_anew() -> None:
    """Totals, labels and accounts; what is published next adds to these."""
    bench = Bench(max_models=2)
    bench.ledger._commit_group([work(2)])
    bench.store.state = State(7, {P: Producer(5, 5)}, totals={"x": ModelTotals(1), OVERFLOW_MODEL_ID: ModelTotals(4)})
    bench.ledger._start_anew()
    await asyncio.sleep(0)
    assert bench.reloaded == [bench.store.state]
    records = [Record("x", NOW_US, 5)] * 2
    bench.ledger._commit_group([Work(P, 6, records)])
    await asyncio.sleep(0)
    assert bench.store.commits[-1].label_room == 1
    assert bench.published[-1].number == 8
    assert bench.published[-1].totals["x"].count == 3
    assert aggregate(records)["x"].count == 2


@pytest.mark.parametrize("fails", [False, True])
async def test_what_was_set_aside_is_looked_at_slice_by_slice(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """When nothing else is to do, a bit at a time and soon after each other, so that what comes in has its turn. What
    can't be had just now is left to the next process."""
    monkeypatch.setattr("metrics_sidecar.ledger.rereading.READ_AT_ONCE", 2)
    bench = Bench()
    bench.store.unread = [UnreadRecord(P, number, b"\xc1", "no record", number) for number in range(1, 6)]
    bench.store.errors = [StoreError("locked")] if fails else []
    asked: list[int] = []
    read_unread = bench.store.read_unread

    def note(after_id: int, limit: int) -> list[UnreadRecord]:
        asked.append(after_id)
        return read_unread(after_id, limit)

    monkeypatch.setattr(bench.store, "read_unread", note)
    for _ in range(6):
        assert bench.ledger._next_group(0.0) == ([], False)
    assert asked == ([0] if fails else [0, 2, 4, 5])
