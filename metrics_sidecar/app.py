"""Wires the sidecar: store → ledger → live views → intake, and the HTTP API on top of them."""

import contextlib
import fcntl
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiohttp import web

from metrics_sidecar.api import DISK, METRICS, QUERIES, READINESS, RECONCILE, SNAPSHOT
from metrics_sidecar.audit import Auditor
from metrics_sidecar.disk import measure_disk
from metrics_sidecar.intake import Intake, listening
from metrics_sidecar.ledger import Committed, Ledger
from metrics_sidecar.live import Live
from metrics_sidecar.loop_lag import LoopLag
from metrics_sidecar.process_metrics import SidecarMetrics
from metrics_sidecar.routes import setup_routes
from metrics_sidecar.settings import HISTORY_FILE, SidecarSettings
from metrics_sidecar.store.books import SqliteSnapshot
from metrics_sidecar.store.reader import SqliteQueries
from metrics_sidecar.store.sqlite import SqliteStore
from shared.clock import SystemClock
from shared.errors import problem_middleware
from shared.record import OVERFLOW_MODEL_ID
from shared.settings import StartupError

INTAKE = web.AppKey("intake", Intake)


def make_app(settings: SidecarSettings) -> web.Application:
    """The sidecar of one data directory; its resources start and stop with the application."""
    app = web.Application(middlewares=[problem_middleware])

    async def resources(app: web.Application) -> AsyncIterator[None]:
        with locked(settings.data_dir):
            async with contextlib.AsyncExitStack() as stack:
                await _start(app, settings, stack)
                yield

    app.cleanup_ctx.append(resources)
    setup_routes(app)
    return app


async def _start(app: web.Application, settings: SidecarSettings, stack: contextlib.AsyncExitStack) -> None:
    path = settings.data_dir / HISTORY_FILE
    metrics = SidecarMetrics()
    clock = SystemClock()

    def on_committed(committed: Committed) -> None:
        live.apply(committed)
        _count_commit(metrics, committed)

    def on_failed(_reason: str) -> None:
        metrics.commit_failures.inc()

    store = SqliteStore(path, synced=settings.durability == "power")
    ledger = Ledger(store, clock, settings.max_models, on_committed, on_failed)
    live = Live(ledger.state, settings.max_models)
    metrics.records_missing.inc(ledger.state.missing_count)
    ledger.start()
    stack.push_async_callback(ledger.close)
    queries = SqliteQueries(path)
    stack.callback(queries.close)
    auditor = Auditor(lambda: SqliteSnapshot(path), live)
    stack.callback(auditor.close)

    intake = Intake(ledger, live, settings.max_producers, metrics.count_rejected)
    await stack.enter_async_context(listening(intake, settings.socket))

    def readiness() -> list[str]:
        reasons = [] if ledger.failure is None else [f"the ledger can't commit: {ledger.failure}"]
        return reasons if intake.unreachable is None else [*reasons, intake.unreachable]

    metrics.before_collect = lambda: _count_live(metrics, ledger, live, intake)
    # What was loaded stays: a full collection that walked it would block the loop for tens of ms.
    gc.collect()
    gc.freeze()
    app[INTAKE] = intake
    app[QUERIES] = queries
    app[METRICS] = metrics
    app[RECONCILE] = auditor.reconcile
    app[READINESS] = readiness
    app[SNAPSHOT] = live.snapshot
    app[DISK] = lambda: measure_disk(path)
    stack.callback(LoopLag(clock, metrics.event_loop_lag.observe).stop)


def _count_commit(metrics: SidecarMetrics, committed: Committed) -> None:
    metrics.commits.inc()
    metrics.commit_seconds.observe(committed.duration_s)
    metrics.records_committed.inc(committed.record_count)
    metrics.records_duplicate.inc(committed.duplicate_count)
    metrics.records_missing.inc(committed.missing_count)


def _count_live(metrics: SidecarMetrics, ledger: Ledger, live: Live, intake: Intake) -> None:
    metrics.producers_connected.set(len(intake.producers))
    metrics.queue_records.set(ledger.waiting_records)
    metrics.models_labelled.set(len(live.totals) - (OVERFLOW_MODEL_ID in live.totals))
    metrics.gateway_counters = live.counters
    metrics.gateway_gauges = live.gauges()


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory: a second sidecar on it would count everything twice."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "sidecar.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StartupError(f"SIDECAR_DATA_DIR: {str(data_dir)!r} can't be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartupError(f"SIDECAR_DATA_DIR: another sidecar uses {str(data_dir)!r}") from None
    try:
        yield
    finally:
        os.close(descriptor)
