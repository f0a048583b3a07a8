"""Wires the sidecar: store → ledger → live views → intake, and the HTTP API on top of them."""

import contextlib
import gc
from collections.abc import AsyncIterator

from aiohttp import web

from metrics_sidecar.api.routes import setup_routes
from metrics_sidecar.api.sidecar import SIDECAR, Readiness, Sidecar
from metrics_sidecar.data_dir import locked
from metrics_sidecar.history.audit import Auditor
from metrics_sidecar.history.backend import Backend
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.writer import Writer
from metrics_sidecar.intake.file_plan import plan_files
from metrics_sidecar.intake.intake import Intake
from metrics_sidecar.intake.listener import listening
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.ledger import THREAD, Ledger
from metrics_sidecar.ledger.transaction import State
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.metrics.loop_lag import LoopLag
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from metrics_sidecar.settings import HISTORY_FILE, SidecarSettings, age_us
from metrics_sidecar.sqlite.backend import SqliteBackend
from shared import logs
from shared.accepting import Acceptors
from shared.clock import Clock, SystemClock
from shared.cors import allow_origins
from shared.errors import problem_middleware
from shared.record import OVERFLOW_MODEL_ID
from shared.serving import close_while
from shared.tasks import Background

ACCEPTORS = web.AppKey("acceptors", Acceptors)
INTAKE = web.AppKey("intake", Intake)


def make_app(settings: SidecarSettings) -> web.Application:
    """The sidecar of one data directory; its resources start and stop with the application."""
    app = web.Application(middlewares=[problem_middleware])
    app[ACCEPTORS] = Acceptors()

    async def resources(app: web.Application) -> AsyncIterator[None]:
        with locked(settings.data_dir):
            async with contextlib.AsyncExitStack() as stack:
                await _start(app, settings, stack)
                yield

    app.cleanup_ctx.append(resources)
    allow_origins(app, settings.cors_origins)
    close_while(app, lambda: app[INTAKE].stopping)
    setup_routes(app)
    return app


async def _start(app: web.Application, settings: SidecarSettings, stack: contextlib.AsyncExitStack) -> None:
    plan = plan_files(settings.max_producers)
    retention = _retention(settings)
    backend = _backend(settings, retention)
    metrics = SidecarMetrics()
    clock = SystemClock()
    background = Background(clock)
    writer = backend.open_writer()
    ledger, live = _make_ledger(writer, clock, settings.max_models, metrics, background, retention)
    ledger.start()
    stack.push_async_callback(ledger.close)
    reader = backend.open_reader()
    stack.callback(reader.close)
    await reader.start()
    await stack.enter_async_context(background.task("reader", reader.watch))
    auditor = Auditor(backend.open_audit, live)
    stack.callback(auditor.close)
    intake = app[INTAKE] = Intake(ledger, live, plan.max_producers, metrics.count_rejected, app[ACCEPTORS])
    await stack.enter_async_context(listening(intake, settings.socket))
    metrics.before_collect = lambda: _collect(metrics, writer, ledger, live, intake)
    # What was loaded stays: a full collection that walked it would block the loop for tens of ms.
    gc.collect()
    gc.freeze()
    app[SIDECAR] = Sidecar(
        clock=clock,
        reader=reader,
        reconcile=auditor.reconcile,
        readiness=lambda: _readiness(ledger, intake, [*writer.failures, *([plan.reason] if plan.reason else [])]),
        snapshot=live.snapshot,
        families=live.families,
        measure_disk=backend.measure_disk,
        metrics=metrics,
    )
    stack.callback(LoopLag(clock, metrics.event_loop_lag.observe).stop)


def _make_ledger(
    writer: Writer, clock: Clock, max_models: int, metrics: SidecarMetrics, background: Background, retention: Retention
) -> tuple[Ledger, Live]:
    def on_committed(committed: Committed) -> None:
        live.apply(committed)
        _count_commit(metrics, committed)

    def on_failed(_reason: str) -> None:
        metrics.commit_failures.inc()

    def on_reloaded(state: State) -> None:
        live.reload(state)

    ledger = Ledger(
        writer,
        clock,
        max_models,
        on_committed,
        on_failed,
        on_reloaded=on_reloaded,
        background=background,
        retention=retention,
    )
    live = Live(ledger.state, max_models)
    metrics.records_missing.inc(ledger.state.missing_count)
    return ledger, live


def _readiness(ledger: Ledger, intake: Intake, failures: list[str]) -> Readiness:
    stopped = ledger.reasons
    if intake.stopping:
        stopped.append("the sidecar is shutting down")
    if intake.unreachable is not None:
        stopped.append(intake.unreachable)
    reasons = [reason for name, reason in ledger.background.reasons.items() if name != THREAD]
    if ledger.tending.failure is not None:
        failures = [*failures, f"old rows and sums over time can't be looked after: {ledger.tending.failure}"]
    if ledger.is_full_of_unread:
        failures = [*failures, "records that this release can't read are dropped: there is no more room for them"]
    if intake.acceptors.reason is not None:
        reasons.append(intake.acceptors.reason)
    reasons += [*logs.reasons(), *failures, *intake.live.overflows]
    if ledger.reckoning.concern is not None:
        reasons.append(ledger.reckoning.concern)
    return Readiness("not_ready" if stopped else "degraded" if reasons else "ready", [*stopped, *reasons])


def _retention(settings: SidecarSettings) -> Retention:
    return Retention(
        rows_us=age_us(settings.retention),
        minutes_us=age_us(settings.retention_minutes),
        hours_us=age_us(settings.retention_hours),
        days_us=age_us(settings.retention_days),
        max_bytes=settings.max_bytes or None,
    )


def _backend(settings: SidecarSettings, retention: Retention) -> Backend:
    return SqliteBackend(
        settings.data_dir / HISTORY_FILE,
        synced=settings.durability == "power",
        retention=retention,
        query_timeout_s=settings.query_timeout_s,
    )


def _count_commit(metrics: SidecarMetrics, committed: Committed) -> None:
    metrics.commits.inc()
    metrics.commit_seconds.observe(committed.duration_s)
    metrics.records_committed.inc(committed.record_count)
    metrics.records_duplicate.inc(committed.duplicate_count)
    metrics.records_missing.inc(committed.missing_count)
    for fate, count in committed.unread.items():
        metrics.records_unread.labels(fate).inc(count)
    for reason, count in committed.clamped.items():
        metrics.timestamps_clamped.labels(reason).inc(count)


def _collect(metrics: SidecarMetrics, writer: Writer, ledger: Ledger, live: Live, intake: Intake) -> None:
    metrics.producers_connected.set(len(intake.producers))
    metrics.queue_records.set(ledger.waiting_records)
    metrics.models_labelled.set(len(live.totals) - (OVERFLOW_MODEL_ID in live.totals))
    metrics.gateway_counters = live.counters
    metrics.gateway_gauges = live.gauges()
    metrics.accept_failures = intake.acceptors.failures
    metrics.upkeep = writer.upkeep
    metrics.clock_lead_us, metrics.clock_jumps = ledger.reckoning.lead_us, ledger.reckoning.jump_counts
