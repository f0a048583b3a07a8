"""`make soak`: the sidecar away for a long time under load. All records arrive; callers notice nothing.

Exits 1 if a record is lost or doubled or the views disagree. The latencies are for the reader to judge.
"""

import asyncio
import contextlib
import gc
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
import msgspec
import uvloop

from tests.chaos.calls import Call, Callers
from tests.chaos.cluster import Cluster
from tests.chaos.compare import compare
from tests.chaos.injection import in_thread
from tests.chaos.model_server import calls_seen
from tests.chaos.models import even_models
from tests.chaos.rest import until_rest
from tests.chaos.views import Page, Sidecar

WARM_UP, BEFORE, AWAY, CATCHING_UP = range(4)
PHASES = ("warm-up", "before", "away", "catching up")
MODEL_COUNT = 400
MAX_BEFORE_S = 60.0
MAX_CATCHING_UP_S = 120.0
REST_S = 60.0
POLL_S = 0.25
MB = 1e6


@dataclass
class Sample:
    """The gateway at one moment: memory of its workers (their own, and mapped files) and its journals."""

    phase: int
    own_bytes: int
    mapped_bytes: int
    journal_bytes: int


@dataclass
class Outage:
    """What an outage has shown. `problems` should be empty."""

    calls: list[Call] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    rows: int = 0
    catch_up_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def latencies_ms(self, phase: int) -> list[float]:
        """Sorted, of the answered calls that began in this phase."""
        calls = (call for call in self.calls if call.round == phase and call.outcome == "answered")
        return sorted(call.latency_s * 1000 for call in calls)


async def run_outage(directory: Path, seconds: float, rate: float, workers: int = 2) -> Outage:
    """Load before, during and after the sidecar's absence; then everything compared."""
    cluster = Cluster(directory, workers)
    outage = Outage()
    try:
        cluster.data.parent.mkdir(parents=True)
        await in_thread(cluster.start_all)
        callers = Callers(cluster.gateway_url, even_models(MODEL_COUNT), random.Random(1))
        sidecar = Sidecar(cluster.sidecar_url)
        async with contextlib.aclosing(callers), contextlib.aclosing(sidecar):
            outage.calls = callers.calls
            async with loaded(callers, rate), watched(cluster, callers, outage.samples):
                await _phases(cluster, callers, sidecar, outage, seconds, rate)
            await callers.finished()
            await until_rest(cluster, sidecar, REST_S)
            views = await sidecar.views()
            outage.rows = len(views.rows)
            seen = await asyncio.to_thread(lambda: list(calls_seen(cluster.seen_file)))
            outage.problems = compare(outage.calls, seen, views, 0, frozenset()).all + cluster.complaints()
    finally:
        await in_thread(cluster.close)
    return outage


async def _phases(
    cluster: Cluster, callers: Callers, sidecar: Sidecar, outage: Outage, seconds: float, rate: float
) -> None:
    callers.round = WARM_UP
    await asyncio.sleep(min(seconds / 4, 10.0))
    callers.round = BEFORE
    await asyncio.sleep(min(seconds, MAX_BEFORE_S))
    callers.round = AWAY
    cluster.sidecar.kill_all()
    await asyncio.sleep(seconds)
    callers.round = CATCHING_UP
    started_s = asyncio.get_running_loop().time()
    await in_thread(cluster.restart_sidecar)
    async with asyncio.timeout(MAX_CATCHING_UP_S):
        while await _counted(sidecar) < callers.answered - rate * POLL_S:
            await asyncio.sleep(POLL_S)
    outage.catch_up_s = asyncio.get_running_loop().time() - started_s


async def _counted(sidecar: Sidecar) -> int:
    """What the sidecar has of all calls: one small question, for the callers need the machine. None that is known, if
    it is to be asked again (503): on a busy machine, a process that reads may take longer to start than that."""
    try:
        page = await sidecar.get("/metrics/history?limit=1")
    except aiohttp.ClientResponseError as error:
        if error.status == 503:
            return 0
        raise
    return msgspec.json.decode(page, type=Page).total_count


@contextlib.asynccontextmanager
async def loaded(callers: Callers, rate: float) -> AsyncIterator[None]:
    task = asyncio.create_task(callers.run(rate))
    try:
        yield
    finally:
        task.cancel()


@contextlib.asynccontextmanager
async def watched(cluster: Cluster, callers: Callers, samples: list[Sample]) -> AsyncIterator[None]:
    """A sample each second."""

    async def watch() -> None:
        while True:
            memory = [memory_of(pid) for pid in cluster.worker_pids()]
            own, mapped = (sum(column) for column in zip(*memory, strict=True))
            samples.append(Sample(callers.round, own, mapped, cluster.journal_bytes()))
            await asyncio.sleep(1.0)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process: its own, and those of mapped files, which the system can take back."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    own, mapped = (int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def report(outage: Outage) -> list[str]:
    """The figures as text."""
    before_p99 = percentile(outage.latencies_ms(BEFORE), 0.99)
    lines = [
        f"{'phase':12} {'answered':>9} {'p50 ms':>8} {'p99 ms':>8} {'p99 ratio':>9}  own MB  mapped MB  journal MB"
    ]
    for phase, name in enumerate(PHASES):
        latencies = outage.latencies_ms(phase)
        p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        samples = [sample for sample in outage.samples if sample.phase == phase] or outage.samples[-1:]
        own, mapped, journal = (
            max(getattr(sample, field) for sample in samples) / MB
            for field in ("own_bytes", "mapped_bytes", "journal_bytes")
        )
        lines.append(
            f"{name:12} {len(latencies):9} {p50:8.2f} {p99:8.2f} {p99 / before_p99:9.2f}  "
            f"{own:6.1f}  {mapped:9.1f}  {journal:10.1f}"
        )
    away = [sample.own_bytes / MB for sample in outage.samples if sample.phase == AWAY]
    lines.append(f"workers' own memory while away: first {away[0]:.1f} MB, last {away[-1]:.1f} MB")
    answered = sum(call.outcome == "answered" for call in outage.calls)
    lines.append(
        f"{len(outage.calls)} calls, {answered} answered, {outage.rows} rows; ",
    )
    lines[-1] += f"caught up {outage.catch_up_s:.1f} s after the sidecar's start; {len(outage.problems)} problems"
    return lines + [f"  ! {problem}" for problem in outage.problems[:20]]


def percentile(ordered: list[float], share: float) -> float:
    """The value that this share of the values doesn't exceed."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=300.0, show_default=True, help="The sidecar's absence.")
@click.option("--rate", type=click.FloatRange(1), default=1000.0, show_default=True, help="Calls per second.")
@click.option("--workers", type=click.IntRange(1, 8), default=2, show_default=True)
def main(seconds: float, rate: float, workers: int) -> None:
    """Stop the sidecar under load, start it again, and see whether everything arrives."""
    directory = Path(tempfile.mkdtemp(prefix="outage-"))
    gc.disable()  # a full collection of a million calls would be in the callers' latencies
    outage = uvloop.run(run_outage(directory, seconds, rate, workers))
    print("\n".join(report(outage)))
    if outage.problems:
        print(f"logs and data are kept in {directory}")
        sys.exit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
