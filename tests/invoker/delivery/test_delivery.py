"""Journal, outbox, intake and ledger together, as a model: whatever happens in whatever order, each record
is in history once. Journals and SQLite are real files and the socket is a real one; only time is short."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from invoker.delivery.assignment import Shipped, ship_dead
from invoker.delivery.outbox import Outbox
from invoker.journal.begun import Begun
from invoker.journal.directory import Bound
from invoker.journal.journal import NO_CALL, Journal
from invoker.journal.segment import MIN_SEGMENT_BYTES
from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.intake.intake import Intake
from metrics_sidecar.intake.listener import listening
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.sqlite.reader import SqliteReader
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.record import ErrorType, Record
from shared.wire import Report

CLOCK = SystemClock()


class SlowStore(SqliteWriter):
    """Takes its time, so that connections can be lost between a batch and its commit."""

    def commit(self, commit: Commit) -> list[str]:
        time.sleep(0.01)
        return super().commit(commit)


class Sidecar:
    """The sidecar's half, started and stopped within one event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        store = SlowStore(self._directory / "history.db")
        ledger = Ledger(store, CLOCK, 2000, self._apply, lambda _reason: None)
        self.live = Live(ledger.state, 2000)
        self.missing = ledger.state.missing_count
        ledger.start()
        self._stack.push_async_callback(ledger.close)
        intake = Intake(ledger, self.live, 100, lambda _reason: None)
        await self._stack.enter_async_context(listening(intake, self._directory / "s"))

    def _apply(self, committed: Committed) -> None:
        self.live.apply(committed)

    async def stop(self) -> None:
        await self._stack.aclose()


class Worker:
    """A gateway worker's half: a journal, and an outbox while it is connected."""

    def __init__(self, bound: Bound, socket: Path) -> None:
        self.journal = Journal.create(bound, CLOCK)
        self.outbox = Outbox(self.journal, socket, CLOCK, lambda _everything: Report(), [])
        self.task: asyncio.Task[None] | None = None
        self.calls: list[tuple[str, int]] = []

    async def disconnect(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None


class Delivery(RuleBasedStateMachine):
    """Each record has a model id of its own, so that history tells which are there, and how often."""

    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="delivery"))
        self.bound = Bound(self.directory / "journal", 64 * 1024 * 1024, 1)
        self.bound.segment_bytes = MIN_SEGMENT_BYTES
        self.loop = asyncio.new_event_loop()
        self.sidecar: Sidecar | None = None
        self.expected: dict[str, str | None] = {}
        self.living: list[Worker] = []

    @rule(target=workers)
    def worker_starts(self) -> Worker:
        self.living.append(Worker(self.bound, self.directory / "s"))
        return self.living[-1]

    @rule(worker=workers, count=st.integers(1, 300), size=st.integers(0, 1500))
    def calls_end(self, worker: Worker, count: int, size: int) -> None:
        for _ in range(count):
            model_id = f"m{len(self.expected)}"
            self.expected[model_id] = ErrorType.TIMEOUT
            worker.journal.append(Record(model_id, 1, 1, ErrorType.TIMEOUT, "x" * size))

    @rule(worker=workers)
    def call_begins(self, worker: Worker) -> None:
        model_id = f"m{len(self.expected)}"
        self.expected[model_id] = ErrorType.GATEWAY_DIED  # unless it ends before its worker does
        worker.calls.append((model_id, worker.journal.begin(Begun(model_id, 1, 1))))

    @rule(worker=workers)
    def begun_call_ends(self, worker: Worker) -> None:
        if worker.calls:
            model_id, call = worker.calls.pop()
            assert call != NO_CALL
            self.expected[model_id] = None
            worker.journal.append(Record(model_id, 1, 1), call)

    @rule(worker=workers)
    def outbox_runs(self, worker: Worker) -> None:
        if worker.task is None:
            worker.task = self.loop.create_task(worker.outbox.run())

    @rule(worker=workers)
    def outbox_is_cut_off(self, worker: Worker) -> None:
        self.loop.run_until_complete(worker.disconnect())

    @rule(worker=workers, milliseconds=st.integers(0, 15))
    def outbox_reconnects(self, worker: Worker, milliseconds: int) -> None:
        self.outbox_runs(worker)
        self.time_passes(milliseconds)
        self.outbox_is_cut_off(worker)
        self.outbox_runs(worker)

    @rule(worker=consumes(workers))
    def worker_dies(self, worker: Worker) -> None:
        self.loop.run_until_complete(worker.disconnect())
        worker.journal.close()
        self.living.remove(worker)

    @rule()
    def sidecar_starts(self) -> None:
        if self.sidecar is None:
            self.sidecar = Sidecar(self.directory)
            self.loop.run_until_complete(self.sidecar.start())

    @rule()
    def sidecar_stops(self) -> None:
        if self.sidecar is not None:
            self.loop.run_until_complete(self.sidecar.stop())
            self.sidecar = None

    @rule(milliseconds=st.integers(0, 30))
    def time_passes(self, milliseconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(milliseconds / 1000))

    @rule(milliseconds=st.integers(1, 30))
    def adoption_runs_and_is_cut_off(self, milliseconds: int) -> None:
        async def adopt() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(milliseconds / 1000):
                    await self._adopt()

        self.loop.run_until_complete(adopt())

    @invariant()
    def nothing_is_dropped(self) -> None:
        assert all(worker.journal.dropped == {} for worker in self.living)

    def teardown(self) -> None:
        """At rest: all dead are adopted, all living have shipped; history has each record once."""
        try:
            self.sidecar_starts()
            for worker in [*self.living]:
                self._end(worker)
            self.loop.run_until_complete(asyncio.wait_for(self._adopt(), 30))
            assert self.loop.run_until_complete(self._history()) == dict.fromkeys(self.expected.items(), 1)
            assert self.sidecar is not None
            assert self.sidecar.missing == 0
            assert sum(totals.count for totals in self.sidecar.live.totals.values()) == len(self.expected)
            self.sidecar_stops()
        finally:
            self.loop.run_until_complete(asyncio.sleep(0.01))  # lets transports see that they are closed
            self.loop.close()
            shutil.rmtree(self.directory)

    def _end(self, worker: Worker) -> None:
        self.loop.run_until_complete(worker.disconnect())
        worker.journal.close()

    async def _adopt(self) -> None:
        await ship_dead(self.bound, self.directory / "s", CLOCK, Shipped())

    async def _history(self) -> Counter[tuple[str, str | None]]:
        queries = SqliteReader(self.directory / "history.db")
        query, rows = HistoryQuery(limit=1000), []
        while True:
            page = await queries.page(query)
            rows += page.rows
            if page.next is None:
                break
            query = HistoryQuery(limit=1000, after=page.next)
        queries.close()
        return Counter((row.model_id, row.error_type) for row in rows)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=80, stateful_step_count=30, suppress_health_check=list(HealthCheck))
