"""The ledger: commits what producers send, each record once, on one writer thread.

Work goes in from the event loop (`submit`), is grouped into one transaction, and comes back to the loop
as `Committed` only after the store has it: then totals are published and batches acknowledged.
"""

import asyncio
import dataclasses
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from metrics_sidecar.queries import StoreError
from metrics_sidecar.totals import ModelTotals, aggregate, merge_into
from shared import logs
from shared.clock import Clock
from shared.record import OVERFLOW_MODEL_ID, Record

MAX_COMMIT_RECORDS = 8192
RETRY_FIRST_S, RETRY_LAST_S = 0.05, 1.0

Counters = dict[str, dict[str, int]]
"""Name → label value → count, as producers report them."""

log = logs.get("ledger")


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one frame asks of the ledger. `done` is called on the event loop once it is committed,
    with the producer's last committed sequence."""

    producer_id: str
    first_sequence: int = 0
    records: list[Record] = dataclasses.field(default_factory=list)
    reported: Counters | None = None
    retire: bool = False
    done: Callable[[int], None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Sequences that a producer skipped, both ends included: records that nobody holds any more."""

    producer_id: str
    first_sequence: int
    last_sequence: int

    @property
    def count(self) -> int:
        return self.last_sequence - self.first_sequence + 1


@dataclasses.dataclass(slots=True)
class Commit:
    """One transaction: all of it or nothing. `label_room`: how many new models may get a label."""

    now_us: int
    records: list[Record] = dataclasses.field(default_factory=list)
    totals: dict[str, ModelTotals] = dataclasses.field(default_factory=dict)
    label_room: int = 0
    cursors: dict[str, int] = dataclasses.field(default_factory=dict)
    gaps: list[Gap] = dataclasses.field(default_factory=list)
    reported: dict[str, Counters] = dataclasses.field(default_factory=dict)
    counters: Counters = dataclasses.field(default_factory=dict)
    retired: list[str] = dataclasses.field(default_factory=list)
    duplicate_count: int = 0


@dataclasses.dataclass(slots=True)
class State:
    """What a store holds, as the ledger needs it: cursors and reports per producer, totals per label."""

    cursors: dict[str, int] = dataclasses.field(default_factory=dict)
    reported: dict[str, Counters] = dataclasses.field(default_factory=dict)
    counters: Counters = dataclasses.field(default_factory=dict)
    totals: dict[str, ModelTotals] = dataclasses.field(default_factory=dict)
    missing_count: int = 0


class Store(Protocol):
    """Keeps commits. Used by one thread at a time."""

    def load(self) -> State:
        """All that earlier commits have left."""
        ...

    def commit(self, commit: Commit) -> list[str]:
        """Store all of it, or raise `StoreError` and store none. Committed means: it outlives the process.
        Returns the models that got a label: those never seen before, in order, while there is room."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Committed:
    """What one transaction changed, for the views. `totals` are additions per label."""

    totals: dict[str, ModelTotals]
    counters: Counters
    record_count: int
    duplicate_count: int
    missing_count: int
    duration_s: float


class Ledger:
    """Owns the store and the writer thread. All methods but the thread's own are the event loop's."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        max_models: int,
        on_committed: Callable[[Committed], None],
        on_failed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_models = max_models
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._state = store.load()
        self._labels = set(self._state.totals) - {OVERFLOW_MODEL_ID}
        self._closing = threading.Event()
        self.waiting_records = 0
        self.failure: str | None = None

    @property
    def state(self) -> State:
        """As loaded, for the views' start; its `totals` belong to the caller."""
        return self._state

    def start(self) -> None:
        self._thread.start()

    def committed(self, producer_id: str) -> int:
        """The last sequence of this producer in the ledger, 0 for none."""
        return self._state.cursors.get(producer_id, 0)

    def submit(self, work: Work) -> None:
        """Queue for the next transaction. The caller bounds what it submits before `done`."""
        self.waiting_records += len(work.records)
        self._queue.put(work)

    async def close(self) -> None:
        """Commit what was submitted, unless the store refuses it, and close the store. Idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(None)
            if self._thread.is_alive():
                await asyncio.to_thread(self._thread.join)
            self._store.close()

    # The writer thread.

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            if group and not self._commit_group(group):
                return
            if last:
                return

    def _next_group(self) -> tuple[list[Work], bool]:
        """All work that waits, up to one transaction's worth; True once the queue is closed."""
        work = self._queue.get()
        group: list[Work] = []
        count = 0
        while work is not None:
            group.append(work)
            count += len(work.records)
            if count >= MAX_COMMIT_RECORDS:
                return group, False
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit_group(self, group: list[Work]) -> bool:
        """Commit, again and again until the store takes it; False if it was closed before."""
        retry_s = RETRY_FIRST_S
        while True:
            started = time.perf_counter()
            commit = self._plan(group)
            try:
                granted = self._store.commit(commit)
            except StoreError as error:
                self._call_loop(self._note_failure, str(error))
                if self._closing.wait(retry_s):
                    return False
                retry_s = min(retry_s * 2, RETRY_LAST_S)
                continue
            self._labels.update(granted)
            self._apply(commit)
            self._call_loop(self._publish, group, commit, time.perf_counter() - started)
            return True

    def _plan(self, group: list[Work]) -> Commit:
        commit = Commit(self._clock.now_us())
        for work in group:
            if work.records:
                self._plan_records(commit, work)
            if work.reported is not None:
                self._plan_report(commit, work.producer_id, work.reported)
            if work.retire:
                commit.retired.append(work.producer_id)
        commit.totals = aggregate(commit.records)
        commit.label_room = max(self._max_models - len(self._labels), 0)
        return commit

    def _plan_records(self, commit: Commit, work: Work) -> None:
        cursor = commit.cursors.get(work.producer_id) or self.committed(work.producer_id)
        expected = cursor + 1
        known = min(max(expected - work.first_sequence, 0), len(work.records))
        commit.duplicate_count += known
        if known == len(work.records):
            return
        if work.first_sequence > expected:
            commit.gaps.append(Gap(work.producer_id, expected, work.first_sequence - 1))
        commit.records += work.records[known:] if known else work.records
        commit.cursors[work.producer_id] = work.first_sequence + len(work.records) - 1

    def _plan_report(self, commit: Commit, producer_id: str, reported: Counters) -> None:
        """Add to the counters what grew since this producer's last report."""
        before = commit.reported.get(producer_id) or self._state.reported.get(producer_id, {})
        after = {name: dict(values) for name, values in before.items()}
        for name, values in reported.items():
            for label, value in values.items():
                grown = value - before.get(name, {}).get(label, 0)
                if grown > 0:
                    after.setdefault(name, {})[label] = value
                    counter = commit.counters.setdefault(name, {})
                    counter[label] = counter.get(label, 0) + grown
        commit.reported[producer_id] = after

    def _apply(self, commit: Commit) -> None:
        state = self._state
        state.cursors.update(commit.cursors)
        state.reported.update(commit.reported)
        for producer_id in commit.retired:
            state.cursors.pop(producer_id, None)
            state.reported.pop(producer_id, None)
        for gap in commit.gaps:
            log.error(
                "ledger.records_missing",
                producer=gap.producer_id,
                first=gap.first_sequence,
                last=gap.last_sequence,
                count=gap.count,
            )

    def _call_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The loop is gone: nobody is left to tell, and what is committed stays so.
            self._closing.set()

    # Back on the event loop.

    def _note_failure(self, reason: str) -> None:
        if self.failure is None:
            log.error("ledger.commit_failed", reason=reason, waiting_records=self.waiting_records)
        self.failure = reason
        self._on_failed(reason)

    def _publish(self, group: list[Work], commit: Commit, duration_s: float) -> None:
        if self.failure is not None:
            log.info("ledger.commit_works_again", waiting_records=self.waiting_records)
            self.failure = None
        by_label: dict[str, ModelTotals] = {}
        for model_id, totals in commit.totals.items():
            merge_into(by_label, {model_id if model_id in self._labels else OVERFLOW_MODEL_ID: totals})
        self._on_committed(
            Committed(
                totals=by_label,
                counters=commit.counters,
                record_count=len(commit.records),
                duplicate_count=commit.duplicate_count,
                missing_count=sum(gap.count for gap in commit.gaps),
                duration_s=duration_s,
            )
        )
        for work in group:
            self.waiting_records -= len(work.records)
            if work.done is not None:
                work.done(self.committed(work.producer_id))
