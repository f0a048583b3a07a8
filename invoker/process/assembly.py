"""Wires one gateway worker: journal → outbox, upstream → invoker, and what callers meet on top of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from invoker.call.invocation import Invoker
from invoker.delivery.assignment import adopting, shipping
from invoker.delivery.outbox import Outbox
from invoker.front.answering import Answering
from invoker.front.held_bodies import HeldBodies
from invoker.front.listener import Connections
from invoker.front.worker import Worker
from invoker.journal.directory import Bound
from invoker.journal.durability import GroupSync
from invoker.journal.journal import Journal
from invoker.process import readiness
from invoker.process.file_plan import plan_files
from invoker.process.report import worker_report
from invoker.process.snapshot import Snapshot
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.base import Protocol
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.openai import OpenAI
from invoker.protocols.worklet import Worklet
from invoker.settings import InvokerSettings
from invoker.upstream.pool import PooledUpstream
from shared.clock import SystemClock
from shared.tasks import Background


@contextlib.asynccontextmanager
async def assembled(
    settings: InvokerSettings, snapshot: Snapshot
) -> AsyncIterator[tuple[Worker, Callable[[Snapshot], None]]]:
    """One worker that records and ships, and what swaps its models; at the end, all that it has recorded is handed over
    or left for another."""
    clock = SystemClock()
    plan = plan_files(settings.max_connections, settings.max_in_flight)

    bound = Bound(settings.journal_dir, settings.journal_max_bytes, settings.workers)
    synced = settings.durability == "power"
    journal = await asyncio.to_thread(Journal.create, bound, clock, synced=synced)
    sync = GroupSync(journal) if synced else None
    durable = sync.wait if sync else None

    upstream = PooledUpstream(clock, settings.max_answer_bytes, plan.idle)
    invoker = Invoker(snapshot.models, upstream, journal, clock, settings.max_in_flight, durable)

    large_bodies = LargeBodies()
    protocols: list[Protocol] = [Worklet(large_bodies), OpenAI(large_bodies), Anthropic(large_bodies)]
    answering = Answering(invoker, protocols, settings.max_body_bytes, HeldBodies(settings.max_bodies_bytes))
    connections = Connections(answering, plan.max_connections, plan.probes, plan.lingering, settings.max_header_bytes)

    report = worker_report(journal, invoker, connections)
    outbox = Outbox(journal, settings.sidecar_socket, clock, report, snapshot.models.names, durable)
    background = Background(clock)
    refused = snapshot.refused

    def swap(snapshot: Snapshot) -> None:
        nonlocal refused
        refused = snapshot.refused
        invoker.swap(snapshot.models)
        outbox.tell_of(snapshot.models.names)

    def reasons() -> list[str]:
        return [
            *readiness.of_the_process(background, plan.reason),
            *readiness.of_models(refused),
            *readiness.of_large_bodies(large_bodies),
            *readiness.of_callers(connections),
            *readiness.of_recording(outbox, journal, sync),
        ]

    async with shipping(outbox, journal, background), adopting(bound, settings.sidecar_socket, clock, background):
        worker = Worker(
            invoker,
            answering,
            connections,
            reasons,
            settings.sidecar_url,
            upstream,
            settings.cors_origins,
        )
        yield worker, swap
    await large_bodies.close()
    await upstream.close()
