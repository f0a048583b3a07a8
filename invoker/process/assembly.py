"""Wires one gateway worker: journal → outbox, upstream → invoker, and what callers meet on top of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

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
from invoker.process.report import of_configuration, worker_families, worker_report
from invoker.process.snapshot import Snapshot
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.base import Protocol
from invoker.protocols.kserve import KServe
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.openai import OpenAI
from invoker.protocols.worklet import Worklet
from invoker.routing.models import Models
from invoker.routing.names import Names, resolve
from invoker.routing.places import Places
from invoker.routing.probes import Probes
from invoker.routing.states import EndpointState, UpstreamsAnswer, limits_of, merged, states_of
from invoker.settings import InvokerSettings
from invoker.upstream.pool import PooledUpstream
from shared.clock import Clock, SystemClock
from shared.tasks import Background


class KnownModels:
    """The models of one worker. `refused`: why the models file, as it is now, can't be used."""

    def __init__(self, snapshot: Snapshot, invoker: Invoker, outbox: Outbox, probes: Probes, clock: Clock) -> None:
        self.refused = snapshot.refused
        self.configuration = of_configuration(snapshot)
        self.names = Names(resolve, self._endpoints_changed)
        self._probes = probes
        self._invoker = invoker
        self._outbox = outbox
        self._clock = clock

    def swap(self, snapshot: Snapshot) -> None:
        """From now on, calls go by these."""
        self.refused, self.configuration = snapshot.refused, of_configuration(snapshot)
        self._invoker.swap(snapshot.models)
        self._outbox.tell_of(snapshot.models.names)
        self.follow(snapshot)

    def follow(self, snapshot: Snapshot) -> None:
        """Their endpoints are looked up, and asked how they are."""
        self.names.follow(snapshot.models)
        self._probes.follow(snapshot.models)

    def _endpoints_changed(self, models: Models) -> None:
        """Addresses have come or gone."""
        self._invoker.upstreams.follow(models)
        self._probes.follow(models)

    def states(self) -> list[EndpointState]:
        """What is known of their endpoints here."""
        return states_of(self._invoker.models, self._clock)


@contextlib.asynccontextmanager
async def assembled(
    settings: InvokerSettings,
    snapshot: Snapshot,
    places: Places,
    others: Callable[[], Awaitable[list[list[EndpointState]]]],
) -> AsyncIterator[tuple[Worker, KnownModels]]:
    """One worker that records and ships, and its models; at the end, all that it has recorded is handed over or left
    for another. `places`: what it counts with for limits; `others`: asks other workers what they know of endpoints."""
    clock = SystemClock()
    plan = plan_files(settings.max_connections, settings.max_in_flight)

    bound = Bound(settings.journal_dir, settings.journal_max_bytes, settings.workers)
    synced = settings.durability == "power"
    journal = await asyncio.to_thread(Journal.create, bound, clock, synced=synced)
    sync = GroupSync(journal) if synced else None
    durable = sync.wait if sync else None

    upstream = PooledUpstream(clock, settings.max_answer_bytes, plan.idle)
    invoker = Invoker(snapshot.models, upstream, journal, clock, settings.max_in_flight, durable, places)

    large_bodies = LargeBodies()
    protocols: list[Protocol] = [
        Worklet(large_bodies),
        OpenAI(large_bodies),
        Anthropic(large_bodies),
        KServe(large_bodies),
    ]
    answering = Answering(invoker, protocols, settings.max_body_bytes, HeldBodies(settings.max_bodies_bytes))
    connections = Connections(answering, plan.max_connections, plan.probes, plan.lingering, settings.max_header_bytes)

    report = worker_report(journal, invoker, connections, lambda: models.configuration)
    families = worker_families(invoker)
    outbox = Outbox(journal, settings.sidecar_socket, clock, report, snapshot.models.names, durable, families=families)
    background = Background(clock)
    probes = Probes(upstream, clock)
    models = KnownModels(snapshot, invoker, outbox, probes, clock)

    async def upstreams() -> UpstreamsAnswer:
        return merged([*await others(), models.states()], limits_of(invoker.models))

    def reasons() -> list[str]:
        return [
            *readiness.of_the_process(background, plan.reason),
            *readiness.of_models(models.refused),
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
            upstreams,
            settings.cors_origins,
        )
        models.follow(snapshot)
        try:
            async with background.task("names", models.names.run):
                yield worker, models
        finally:
            await probes.close()
    await large_bodies.close()
    await upstream.close()
