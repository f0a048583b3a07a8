"""A run: load, endpoints that go wrong, a models file that changes meanwhile; then rest, and everything compared."""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.calls import Call, Callers
from tests.chaos.compare import Key, compare
from tests.chaos.endpoints.checks import Found, Told, check, check_limits
from tests.chaos.endpoints.cluster import EndpointCluster
from tests.chaos.endpoints.faults import KINDS, Troubles, draw, rewrite
from tests.chaos.endpoints.watch import Sample, watching
from tests.chaos.injection import Injector, in_thread
from tests.chaos.model_server import calls_seen
from tests.chaos.models import CALM, SPREAD
from tests.chaos.rest import until_rest
from tests.chaos.scraper import Scraper
from tests.chaos.views import Sidecar

WARM_UP, TROUBLE, AFTER = range(3)
PHASES = ("before", "troubles", "after")
PHASE_S = 3.0
REST_S = 60.0


@dataclass(frozen=True)
class Options:
    """A run's size: so many faults, calls per second, and workers."""

    seed: int
    faults: int
    rate: float = 150.0
    workers: int = 2
    kinds: Sequence[str] = KINDS


@dataclass
class Outcome:
    """What a run has shown."""

    calls: list[Call]
    rows: int
    reloads: int
    refused: int
    found: Found = field(default_factory=Found)

    @property
    def problems(self) -> list[str]:
        return self.found.problems

    def calm_latencies_s(self, phase: int) -> list[float]:
        """Sorted, of the answered calls that began in this phase and went where all is well."""
        return sorted(
            call.latency_s
            for call in self.calls
            if (call.round, call.model_id, call.outcome) == (phase, CALM.name, "answered")
        )


async def run_endpoints(options: Options, directory: Path, say: Callable[[str], None]) -> Outcome:
    """All of it. AssertionError if the cluster doesn't come to rest."""
    async with started(options, directory) as (cluster, callers, sidecar):
        scraper = Scraper(sidecar)
        troubles = Troubles(cluster, Injector(cluster, callers, sidecar))
        async with watching(cluster.gateway_url) as samples, scraper.running():
            await _phases(options, cluster, callers, troubles, say)
            await callers.finished()
        await until_rest(cluster, sidecar, REST_S)
        return await _compare(options, cluster, callers, sidecar, troubles, samples, scraper)


async def _phases(
    options: Options, cluster: EndpointCluster, callers: Callers, troubles: Troubles, say: Callable[[str], None]
) -> None:
    callers.round = WARM_UP
    load = asyncio.create_task(callers.run(options.rate))
    await asyncio.sleep(PHASE_S)
    callers.round = TROUBLE
    changes = asyncio.create_task(rewrite(cluster, random.Random(options.seed)))
    try:
        async with asyncio.TaskGroup() as group:
            for fault in draw(options.seed, options.faults, options.workers, options.kinds):
                say(f"  {fault}")
                group.create_task(troubles.inject(fault))
                await asyncio.sleep(fault.pause_s)
        callers.round = AFTER
        await asyncio.sleep(PHASE_S)
    finally:
        changes.cancel()
        load.cancel()
        await asyncio.gather(changes, load, return_exceptions=True)


async def _compare(
    options: Options,
    cluster: EndpointCluster,
    callers: Callers,
    sidecar: Sidecar,
    troubles: Troubles,
    samples: list[Sample],
    scraper: Scraper,
) -> Outcome:
    views = await sidecar.views()
    scraper.take(views.series)
    hits: defaultdict[Key, list[str]] = defaultdict(list)
    for name, file in cluster.seen_files.items():
        for _, key in calls_seen(file):
            hits[key].append(name)
    calls = callers.calls
    findings = compare(calls, ((0, key) for key in hits), views, 0, frozenset())
    told = Told(calls, {row.key: row for row in views.rows}, hits, troubles.known, samples, options.workers)
    events = cluster.gateway.events
    outcome = Outcome(calls, len(views.rows), len(events("models.loaded")), len(events("models.refused")), check(told))
    outcome.found.problems += [*findings.all, *scraper.decreases, *cluster.complaints(), *check_limits(views.series)]
    return outcome


@contextlib.asynccontextmanager
async def started(options: Options, directory: Path) -> AsyncIterator[tuple[EndpointCluster, Callers, Sidecar]]:
    """All processes, and callers; at the end none is left, whatever happened."""
    cluster = EndpointCluster(directory, options.workers)
    cluster.data.parent.mkdir(parents=True)
    try:
        await in_thread(cluster.start_all)
        callers = Callers(cluster.gateway_url, (CALM, *SPREAD), random.Random(options.seed))
        sidecar = Sidecar(cluster.sidecar_url)
        async with contextlib.aclosing(callers), contextlib.aclosing(sidecar):
            yield cluster, callers, sidecar
    finally:
        await in_thread(cluster.close)


def report(outcome: Outcome) -> list[str]:
    """The figures as text."""
    found = outcome.found
    outcomes = {
        name: sum(call.outcome == name for call in outcome.calls) for name in ("answered", "refused", "unknown")
    }
    lines = [
        f"{len(outcome.calls)} calls: {outcomes}; {outcome.rows} rows",
        f"the models file was read {outcome.reloads} times, and refused {outcome.refused} times",
        f"{found.attempts} attempts, {found.arrived} of them arrived; {found.again} were further ones",
        f"{found.left_to_the_budget} calls were left without one by the budget",
        f"endpoints were out for {found.out_s:.0f} s seen for sure, and got {found.called_while_out} calls then",
    ]
    for phase, name in enumerate(PHASES):
        latencies = outcome.calm_latencies_s(phase)
        p50, p99 = (latencies[int(len(latencies) * part)] * 1000 for part in (0.5, 0.99)) if latencies else (0.0, 0.0)
        lines.append(f"calm model, {name:8}: {len(latencies):6} answered, p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")
    return lines + [f"  ! {problem}" for problem in outcome.problems[:20]]
