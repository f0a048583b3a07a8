"""A run: rounds of load and faults, each followed by rest and by the comparison of everything."""

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.calls import ENDINGS, Callers
from tests.chaos.cluster import Cluster
from tests.chaos.compare import compare
from tests.chaos.disk import FILLER, small_disk
from tests.chaos.faults import Fault, draw, possible_kinds
from tests.chaos.injection import Injector, in_thread
from tests.chaos.model_server import calls_seen
from tests.chaos.models import MODELS
from tests.chaos.report import HEADER, Round, line, problem_lines
from tests.chaos.rest import until_rest
from tests.chaos.scraper import Scraper
from tests.chaos.views import Sidecar, count_of
from tests.faketime import LIBRARIES

FAULTS_PER_ROUND = 4
WARM_UP_S = 1.0
ROUND_S = 180.0
SETTLE_S = 60.0
DATA_DISK_MB = 64
JOURNAL_DISK_MB = 24
JOURNAL_BYTES = 8 * 1024 * 1024
DROPPED = "invoker_records_dropped_total"
MISSING = "sidecar_records_missing_total"


@dataclass(frozen=True)
class Options:
    """A run's size. `seconds` bounds the time in which rounds begin. A worker's journal is in four segments or more of
    `journal_bytes`, none smaller than 64 KiB. Only faults that have `kind` in their names."""

    seed: int
    faults: int
    rate: float
    workers: int
    seconds: float
    journal_bytes: int = JOURNAL_BYTES
    kind: str = ""


@dataclass
class Chaos:
    """One run on one cluster."""

    options: Options
    cluster: Cluster
    callers: Callers
    sidecar: Sidecar
    scraper: Scraper
    injector: Injector
    say: Callable[[str], None]
    full_rounds: set[int] = field(default_factory=set)
    dropped: int = 0

    async def rounds(self, faults: list[Fault]) -> AsyncIterator[Round]:
        """Round after round, until faults or time are used up."""
        started_s = time.monotonic()
        async with self.scraper.running():
            for number, first in enumerate(range(0, len(faults), FAULTS_PER_ROUND), start=1):
                if time.monotonic() - started_s > self.options.seconds:
                    return
                round_started_s = time.monotonic()
                done = faults[: first + FAULTS_PER_ROUND]
                async with asyncio.timeout(ROUND_S):
                    await self._round(number, done[first:])
                yield await self._compare(number, len(done), time.monotonic() - round_started_s)

    async def _round(self, number: int, faults: list[Fault]) -> None:
        """Load, faults under way at the same time, then rest."""
        self.callers.round = number
        if any(fault.kind == "journal_disk_full" for fault in faults):
            self.full_rounds.add(number)
        load = asyncio.create_task(self.callers.run(self.options.rate))
        try:
            await asyncio.sleep(WARM_UP_S)
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    self.say(f"  {fault}")
                    group.create_task(self.injector.inject(fault))
                    await asyncio.sleep(fault.pause_s)
            await asyncio.sleep(WARM_UP_S)
        finally:
            load.cancel()
        await self.callers.finished()
        await until_rest(self.cluster, self.sidecar, SETTLE_S)

    async def _compare(self, number: int, faults: int, seconds: float) -> Round:
        views = await self.sidecar.views()
        self.scraper.take(views.series)
        calls = self.callers.calls
        outcomes = {name: sum(call.outcome == name for call in calls) for name in ("answered", "refused", "unknown")}
        endings = {name: sum(call.streamed and call.ending == name for call in calls) for name in ENDINGS}
        dropped = count_of(views.series, DROPPED)
        if dropped > self.dropped:  # the journals of several dead workers reach the bound, too
            self.full_rounds.add(number)
        self.dropped = dropped
        findings = compare(calls, calls_seen(self.cluster.seen_file), views, dropped, self.full_rounds)
        return Round(
            number,
            faults,
            len(calls),
            outcomes,
            endings,
            len(views.rows),
            findings,
            self.scraper.decreases,
            self.cluster.complaints(),
            count_of(views.series, MISSING),
            dropped,
            seconds,
        )

    async def stop_all(self) -> None:
        """An orderly end: everybody leaves with 0, no journal is left, and the history is in order. A worker whose
        sidecar has no time to say goodbye leaves an empty journal to whoever comes next."""
        await in_thread(self.cluster.stop, self.cluster.gateway)
        left = [event["records"] for event in self.cluster.gateway.events("shipping.records_left")]
        assert sum(left) == 0, f"{left} records are left after an orderly stop at rest"
        if self.cluster.journals():
            await in_thread(self.cluster.ship)
        for process in (self.cluster.sidecar, self.cluster.models):
            await in_thread(self.cluster.stop, process)
        assert self.cluster.journals() == 0, "a journal is left after an orderly stop"
        await in_thread(self.cluster.verify)


async def run_rounds(options: Options, directory: Path, say: Callable[[str], None]) -> list[Round]:
    """A whole run; `say` is told of each fault and of each round's outcome. AssertionError if the cluster
    doesn't come back from a fault or doesn't end in order."""
    done: list[Round] = []
    async with chaos(options, directory, say) as (run, faults):
        async for state in run.rounds(faults):
            done.append(state)
            say("\n".join((HEADER, line(state), *problem_lines(state))))
        await run.stop_all()
        assert run.scraper.scrapes > len(done), "there were no scrapes while faults went on"
    return done


@contextlib.asynccontextmanager
async def chaos(
    options: Options, directory: Path, say: Callable[[str], None]
) -> AsyncIterator[tuple[Chaos, list[Fault]]]:
    """A started cluster and its faults; at the end no process and no mount is left, whatever happened."""
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(small_disk(directory / "data-disk", DATA_DISK_MB))
        disks = stack.enter_context(small_disk(directory / "journal-disk", JOURNAL_DISK_MB)) and data
        stack.callback(keep_files, directory)
        if not disks:
            say("no full disks: a tmpfs can't be mounted here (that takes root)")
        if not LIBRARIES:
            say("no clocks that jump: libfaketime is not installed")
        cluster = Cluster(directory, options.workers, options.journal_bytes)
        stack.callback(cluster.close)
        await in_thread(cluster.start_all)
        callers = Callers(cluster.gateway_url, MODELS, random.Random(options.seed))
        sidecar = Sidecar(cluster.sidecar_url)
        async with contextlib.aclosing(callers), contextlib.aclosing(sidecar):
            run = Chaos(options, cluster, callers, sidecar, Scraper(sidecar), Injector(cluster, callers, sidecar), say)
            kinds = [kind for kind in possible_kinds(disks=disks, clocks=bool(LIBRARIES)) if options.kind in kind]
            yield run, draw(options.seed, options.faults, options.workers, kinds)


def keep_files(directory: Path) -> None:
    """Copy what is on the small disks, for whoever looks for a failure's cause."""
    for name in ("data-disk", "journal-disk"):
        ignore = shutil.ignore_patterns(FILLER, "*.sock")
        shutil.copytree(directory / name, directory / "kept" / name, ignore=ignore, dirs_exist_ok=True)
