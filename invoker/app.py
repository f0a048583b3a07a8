"""Wires one gateway worker: journal → outbox, upstream → invoker, and the HTTP routes on top of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from invoker.forward import SIDECAR_URL, sidecar_session
from invoker.health import READINESS, Readiness
from invoker.invocation import Invoker
from invoker.journal import MemoryJournal
from invoker.models import Models
from invoker.outbox import Outbox
from invoker.routes import INVOKER, MAX_BODY_BYTES, REJECTED, setup_routes
from invoker.settings import InvokerSettings
from invoker.upstream import AiohttpUpstream
from shared.clock import SystemClock
from shared.errors import problem_middleware

OUTBOX = web.AppKey("outbox", Outbox)


def make_app(settings: InvokerSettings, models: Models) -> web.Application:
    """One worker's application; its resources start and stop with it."""
    app = web.Application(middlewares=[problem_middleware], client_max_size=settings.max_body_bytes)
    app[SIDECAR_URL] = settings.sidecar_url
    app[MAX_BODY_BYTES] = settings.max_body_bytes
    app[REJECTED] = {}

    async def domain(app: web.Application) -> AsyncIterator[None]:
        clock = SystemClock()
        journal = MemoryJournal()
        upstream = AiohttpUpstream(settings.max_answer_bytes)
        invoker = Invoker(models, upstream, journal, clock, settings.max_in_flight)
        counters = {"invoker_requests_rejected_total": app[REJECTED]}
        outbox = Outbox(journal, invoker.in_flight, counters, models.names, settings.sidecar_socket, clock)
        app[INVOKER] = invoker
        app[OUTBOX] = outbox
        app[READINESS] = lambda: _readiness(invoker, outbox)
        shipping = asyncio.create_task(outbox.run(), name="outbox")
        yield
        shipping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shipping
        await upstream.close()

    app.cleanup_ctx.append(domain)
    app.cleanup_ctx.append(sidecar_session)
    setup_routes(app)
    return app


def _readiness(invoker: Invoker, outbox: Outbox) -> Readiness:
    if invoker.draining:
        return Readiness("not_ready", ["draining: the gateway is shutting down"])
    reasons = []
    if not outbox.connected:
        reasons.append(f"the sidecar is not connected; {outbox.records_waiting} records wait for it")
    return Readiness("degraded" if reasons else "ready", reasons)
