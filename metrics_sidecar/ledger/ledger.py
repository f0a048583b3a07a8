"""The ledger: commits what producers send, each record once, on one writer thread.

Work goes in from the event loop (`submit`), is grouped into one transaction, and comes back to the loop
as `Committed` only after the store has it: then totals are published and batches acknowledged.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.history.retention import KEEP_ALL, Retention
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.history.writer import Writer
from metrics_sidecar.ledger.labelled import Committed, Labelled
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.reckoning import Reckoning
from metrics_sidecar.ledger.rereading import Rereading, ToldOf
from metrics_sidecar.ledger.tending import Tending
from metrics_sidecar.ledger.times import Times
from metrics_sidecar.ledger.transaction import Commit, Gap, State, Work
from shared import logs
from shared.clock import Clock
from shared.tasks import Background

MAX_COMMIT_RECORDS = 8192
RETRY_FIRST_S, RETRY_LAST_S = 0.05, 1.0
BUSY_RECORDS = 512
"""A transaction of so many is one of many: records come in as fast as they are committed."""
BUSY_SHARE = 0.5
"""What tending may take then, beside what the transaction took: less would not keep up with many models."""
REREAD_PAUSE_S = 0.02
"""Between two slices of what was set aside."""

FORGET_PRODUCERS_AFTER_US = 90 * 24 * 3600 * 1_000_000
"""A producer that died without a bye, and whose journal nobody has shipped while the sidecar ran for so long, is taken
for gone. Were its journal to come back after all, its records would be counted again: 90 days is longer than any
journal (1 GiB) waits, and than most histories are kept. Connected producers are seen every hour. It is running time,
as any other may be wrong."""
MAX_PRODUCERS_KNOWN = 20_000
"""Accounts kept at one time, all of those who have not said bye; beyond it no new one is welcome."""

THREAD = "ledger"

log = logs.get("ledger")


class Ledger:
    """Owns the store and the writer thread. All methods but the thread's own are the event loop's. `reckoning` is the
    thread's, once it runs: which time it is for what can't be undone."""

    def __init__(
        self,
        store: Writer,
        clock: Clock,
        max_models: int,
        on_committed: Callable[[Committed], None],
        on_failed: Callable[[str], None],
        *,
        on_reloaded: Callable[[State], None] | None = None,
        background: Background | None = None,
        retention: Retention = KEEP_ALL,
        live: bool = True,
    ) -> None:
        """`on_reloaded` is given all that was committed, read anew after a defect: it takes the place of what was
        published before. `live`: records tell which time it is, as they come from those who called just now."""
        self._store = store
        self._live = live
        self._retention = retention
        self._max_models = max_models
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._on_reloaded = on_reloaded
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self.background = background or Background(clock)
        self._thread = self.background.thread(THREAD, self._run, self._closing)
        self._was_started = False
        self._group: list[Work] = []  # being committed
        self._is_last_group = False
        self._state = store.load()
        self.reckoning = Reckoning(self._state.time, clock, self._state.arrived_us)
        self._planner = Planner(self._state)
        self._labelled = Labelled(self._state, max_models)
        self.tending = Tending(store, self.reckoning)
        self._told_of = ToldOf()
        self._rereading = Rereading(store) if live else None
        self.waiting_records = 0
        self.failure: str | None = None
        self._forget_lost_producers()

    @property
    def reasons(self) -> list[str]:
        """Why nothing is committed, if nothing is; in words for `/readyz`."""
        failed = self.background.reasons.get(THREAD)
        return [f"the ledger can't commit: {reason}" for reason in (self.failure, failed) if reason]

    @property
    def is_full_of_unread(self) -> bool:
        """Whether records that can't be read are dropped, as there is no more room for them."""
        return self._planner.is_full_of_unread

    @property
    def state(self) -> State:
        """As loaded, for the views' start; its `totals` and `counters` belong to the caller."""
        return self._state

    def start(self) -> None:
        self._thread.start()

    def committed(self, producer_id: str) -> int:
        """The last sequence of this producer in the ledger, 0 for none."""
        producer = self._planner.producer(producer_id)
        return 0 if producer is None else producer.committed

    def has_room_for(self, producer_id: str) -> bool:
        """Whether this producer has an account, or may get one."""
        planner = self._planner
        return planner.producer(producer_id) is not None or planner.producer_count < MAX_PRODUCERS_KNOWN

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

    def _forget_lost_producers(self) -> None:
        running_us = self.reckoning.running_us
        commit = self._planner.plan_retirement(running_us - FORGET_PRODUCERS_AFTER_US, running_us)
        if not commit.retired:
            return
        try:
            self._store.commit(commit)
        except StoreError as error:  # next time, then
            log.warning("ledger.producers_not_forgotten", count=len(commit.retired), reason=str(error))
            return
        self._planner.applied(commit)
        self._state.number = commit.number
        log.info("ledger.producers_forgotten", count=len(commit.retired))

    # The writer thread.

    def _run(self) -> None:
        if self._was_started:
            self._start_anew()
        self._was_started = True
        wait_s = 0.0
        while True:
            if not self._group:
                self._group, self._is_last_group = self._next_group(wait_s)
            started = time.perf_counter()
            if self._group and not self._commit_group(self._group):
                return
            busy = sum(len(work.records) for work in self._group) >= BUSY_RECORDS
            self._group = []
            if self._is_last_group:
                return
            wait_s = self.tending.tend((time.perf_counter() - started) * BUSY_SHARE if busy else 0)
            if self._rereading is not None:
                wait_s = min(wait_s, REREAD_PAUSE_S)

    def _start_anew(self) -> None:
        """After a defect it isn't known how far a commit has come, in the store or here. What was not acknowledged is
        committed once more, and what of it is in the store is known by its sequence."""
        state = self._store.load()
        self._planner = Planner(state)
        self._labelled = Labelled(state, self._max_models)
        if self._on_reloaded is not None:
            self._call_loop(self._on_reloaded, state)

    def _plan(self, group: list[Work]) -> Commit:
        reckoning = self.reckoning
        reckoning.look()
        earliest_us = self._retention.kept(reckoning.aged_us).rows * MINUTE_US if self._live else 0
        times = Times(earliest_us, reckoning.latest_us, reckoning.arrival_us)
        self._planner.unread_removed(self._store.upkeep.removed_unread_bytes)
        commit = self._planner.plan(group, reckoning.arrival_us, reckoning.running_us, times)
        if self._live and commit.newest_us is not None:
            reckoning.recorded(commit.newest_us)
        commit.time = reckoning.copy()
        commit.label_room = self._labelled.room
        return commit

    def _next_group(self, wait_s: float) -> tuple[list[Work], bool]:
        """All work that waits, up to one transaction's worth; True once the queue is closed. Without any, none
        after a while."""
        group: list[Work] = []
        try:
            work = self._queue.get(timeout=wait_s)
        except queue.Empty:
            return self._reread(), False
        count = 0
        while work is not None:
            group.append(work)
            count += len(work.records) or 1
            if count >= MAX_COMMIT_RECORDS:
                return group, False
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _reread(self) -> list[Work]:
        """When nothing else is to do: a bit of what was set aside."""
        if self._rereading is None:
            return []
        try:
            work = self._rereading.next()
        except StoreError as error:  # the next process tries again
            log.warning("ledger.unread_records_left", reason=str(error))
            self._rereading = None
            return []
        if self._rereading.is_done:
            self._rereading = None
        return work

    def _commit_group(self, group: list[Work]) -> bool:
        """Commit, again and again until the store takes it; False if it was closed before."""
        retry_s = RETRY_FIRST_S
        commit: Commit | None = None
        while True:
            started = time.perf_counter()
            try:
                commit = commit or self._plan(group)
                granted = self._store.commit(commit)
            except Exception as error:  # noqa: BLE001 - a defect must not end the thread unseen, either
                reason = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
                self._call_loop(self._note_failure, reason)
                if self._closing.wait(retry_s):
                    return False
                retry_s = min(retry_s * 2, RETRY_LAST_S)
                if not isinstance(error, StoreError):
                    self._start_anew()
                    commit = None
                continue
            self._planner.applied(commit)
            _log_missing(commit.gaps)
            self._told_of.tell(commit)
            # Without the records: it would take the event loop milliseconds to free them.
            settled = [(work.producer_id, len(work.records), work.done) for work in group]
            committed = self._labelled.count(commit, granted, time.perf_counter() - started)
            self._call_loop(self._publish, committed, settled)
            return True

    def _call_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The loop is gone: nobody is left to tell, and what is committed stays so.
            self._closing.set()

    # Back on the event loop.

    def _note_failure(self, reason: str) -> None:
        if self.failure != reason:
            log.error("ledger.commit_failed", reason=reason, waiting_records=self.waiting_records)
        self.failure = reason
        self._on_failed(reason)

    def _publish(self, committed: Committed, settled: list[tuple[str, int, Callable[[int], None] | None]]) -> None:
        if self.failure is not None:
            log.info("ledger.commit_works_again", waiting_records=self.waiting_records)
            self.failure = None
        try:
            self._on_committed(committed)
        finally:  # no producer may wait for ever for what is committed
            for producer_id, record_count, done in settled:
                self.waiting_records -= record_count
                if done is not None:
                    self._loop.call_soon(done, self.committed(producer_id))


def _log_missing(gaps: list[Gap]) -> None:
    for gap in gaps:
        log.error(
            "ledger.records_missing",
            producer=gap.producer_id,
            first=gap.first_sequence,
            last=gap.last_sequence,
            count=gap.count,
        )
