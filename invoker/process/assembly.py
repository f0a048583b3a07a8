"""Wires one gateway worker: journal → outbox, upstream → invoker, and the HTTP routes on top of them."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from invoker.call.invocation import Invoker
from invoker.delivery.assignment import adopting, shipping
from invoker.delivery.outbox import Outbox
from invoker.front.answering import Answering
from invoker.front.health import READINESS, Readiness
from invoker.front.held_bodies import HeldBodies
from invoker.front.listener import Connections
from invoker.front.responses import ANSWERING, count_refused
from invoker.front.routes import setup_routes
from invoker.front.sidecar_proxy import SIDECAR_URL, sidecar_session
from invoker.journal.directory import Bound
from invoker.journal.durability import GroupSync
from invoker.journal.journal import Journal
from invoker.process.file_plan import plan_files
from invoker.process.report import worker_report
from invoker.protocols.large_bodies import LargeBodies
from invoker.routing.models import Models
from invoker.settings import InvokerSettings
from invoker.upstream.pool import PooledUpstream
from shared import logs
from shared.clock import SystemClock
from shared.cors import allow_origins
from shared.errors import problem_middleware
from shared.serving import close_while
from shared.tasks import Background

CONNECTIONS = web.AppKey("connections", Connections)
INVOKER = web.AppKey("invoker", Invoker)


def make_app(settings: InvokerSettings, models: Models) -> web.Application:
    """One worker's application; its resources start and stop with it."""
    app = web.Application(middlewares=[count_refused, problem_middleware], client_max_size=settings.max_body_bytes)
    app[SIDECAR_URL] = settings.sidecar_url
    rejected: dict[str, int] = {}
    plan = plan_files(settings.max_connections, settings.max_in_flight)
    connections = app[CONNECTIONS] = Connections(plan, rejected, settings.max_header_bytes)

    async def domain(app: web.Application) -> AsyncIterator[None]:
        clock = SystemClock()
        synced = settings.durability == "power"
        bound = Bound(settings.journal_dir, settings.journal_max_bytes, settings.workers)
        journal = await asyncio.to_thread(Journal.create, bound, clock, synced=synced)
        sync = GroupSync(journal) if synced else None
        upstream = PooledUpstream(clock, settings.max_answer_bytes, plan.idle)
        invoker = Invoker(models, upstream, journal, clock, settings.max_in_flight, sync.wait if sync else None)
        report = worker_report(journal, invoker.in_flight, invoker.overhead, connections, rejected)
        outbox = Outbox(journal, settings.sidecar_socket, clock, report, models.names, sync.wait if sync else None)
        app[INVOKER] = invoker
        app[ANSWERING] = Answering(invoker, settings.max_body_bytes, rejected, HeldBodies(settings.max_bodies_bytes))
        background = Background(clock)
        app[READINESS] = lambda: _readiness(
            app[ANSWERING],
            connections,
            outbox,
            journal,
            sync,
            [*background.reasons.values(), plan.reason, *logs.reasons(), _large(invoker.large_bodies)],
        )
        async with (
            shipping(outbox, journal, background),
            adopting(bound, settings.sidecar_socket, clock, background),
        ):
            yield
        await invoker.large_bodies.close()
        await upstream.close()

    allow_origins(app, settings.cors_origins)
    close_while(app, lambda: connections.full or app[ANSWERING].closing)
    app.cleanup_ctx.append(domain)
    app.cleanup_ctx.append(sidecar_session)
    setup_routes(app)
    return app


def _large(bodies: LargeBodies) -> str | None:
    return bodies.failure and f"large bodies can't be read, or the last could not: {bodies.failure}"


def _readiness(
    answering: Answering,
    connections: Connections,
    outbox: Outbox,
    journal: Journal,
    sync: GroupSync | None,
    others: list[str | None],
) -> Readiness:
    if answering.closing:
        return Readiness("not_ready", ["draining: the gateway is shutting down"])
    reasons = [reason for reason in (*others, connections.accepting.reason) if reason]
    if not outbox.connected:
        reasons.append(f"the sidecar is not connected; {journal.records_waiting} records wait for it")
    if journal.full is not None:
        dropped = sum(journal.dropped.values())
        reasons.append(f"{journal.full}: the journal has no space for more; {dropped} records were dropped")
    if answering.bodies.full:
        reasons.append(f"large bodies are refused: {answering.bodies.limit} bytes are held for callers, the limit")
    if connections.full:
        reasons.append(f"callers are refused: {connections.limit} connections are open, the limit")
    if sync is not None and sync.failure is not None:
        reasons.append(f"replies are sent although the journal can't be synced: {sync.failure}")
    return Readiness("degraded" if reasons else "ready", reasons)
