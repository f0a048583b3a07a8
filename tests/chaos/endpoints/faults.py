"""What goes wrong with endpoints, and beside them; and a seed's sequence of it."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from tests.chaos.endpoints.cluster import SHAKY, WRONG_FILES, EndpointCluster
from tests.chaos.endpoints.server import Manners
from tests.chaos.faults import KINDS as OTHER_KINDS
from tests.chaos.faults import Fault
from tests.chaos.injection import Injector, in_thread

OF_ENDPOINTS = ("dies", "dies_again", "hangs", "hangs_and_dies", "answers_500", "is_busy", "cuts")
BESIDE = ("worker_killed", "workers_killed", "sidecar_killed", "sidecar_frozen")
KINDS = (*OF_ENDPOINTS, *OF_ENDPOINTS, *BESIDE)
AWAY = frozenset({"dies", "dies_again", "hangs", "hangs_and_dies"})
"""Then not all that is sent arrives."""
RETRY_AFTER = ("", "0", "1", "3", "date", "soon")
REWRITE_S = 0.3


@dataclass(frozen=True)
class EndpointFault:
    """One fault. `site`: the endpoint that has it; `status` and `retry_after`: what one answers that is busy."""

    number: int
    kind: str
    site: str
    duration_s: float
    pause_s: float
    worker: int
    status: int
    retry_after: str

    def __str__(self) -> str:
        where = f"worker={self.worker}" if self.kind in BESIDE else self.site
        busy = f" {self.status} {self.retry_after!r}" if self.kind == "is_busy" else ""
        return f"{self.number:3d} {self.kind} {where} {self.duration_s:.2f}s{busy}"


@dataclass(frozen=True)
class Trouble:
    """From when until when something was wrong with an endpoint, or, without a site, with the gateway."""

    kind: str
    site: str
    since_s: float
    until_s: float

    def overlaps(self, since_s: float, until_s: float) -> bool:
        return self.since_s <= until_s and since_s <= self.until_s


def draw(seed: int, count: int, workers: int, kinds: Sequence[str] = KINDS) -> list[EndpointFault]:
    """The sequence of a seed: each kind comes up equally often, those of endpoints twice as often as others."""
    die = random.Random(seed)
    faults: list[EndpointFault] = []
    while len(faults) < count:
        for kind in die.sample(kinds, len(kinds)):
            fault = EndpointFault(
                number=len(faults) + 1,
                kind=kind,
                site=die.choice(SHAKY),
                duration_s=die.uniform(0.5, 3.0) if kind in BESIDE else die.uniform(1.0, 7.0),
                pause_s=die.uniform(0.5, 3.0),
                worker=die.randrange(workers),
                status=die.choice((429, 503)),
                retry_after=die.choice(RETRY_AFTER),
            )
            faults.append(fault)
    return faults[:count]


class Troubles:
    """Makes them, those of one endpoint one after the other; `known` is what has been."""

    def __init__(self, cluster: EndpointCluster, others: Injector) -> None:
        self.known: list[Trouble] = []
        self._cluster = cluster
        self._others = others
        self._locks = {site: asyncio.Lock() for site in SHAKY}

    async def inject(self, fault: EndpointFault) -> None:
        """From the moment that its endpoint is well until it is well again."""
        if fault.kind in BESIDE:
            since_s = time.monotonic()
            await self._others.inject(
                Fault(fault.number, fault.kind, fault.worker, fault.duration_s, fault.pause_s, worse=False, jump="")
            )
            if "gateway" in OTHER_KINDS[fault.kind]:
                self.known.append(Trouble(fault.kind, "", since_s, time.monotonic()))
            return
        async with self._locks[fault.site], self._noted(fault):
            await getattr(self, f"_{fault.kind}")(fault)

    @contextlib.asynccontextmanager
    async def _noted(self, fault: EndpointFault) -> AsyncIterator[None]:
        since_s = time.monotonic()
        yield
        self.known.append(Trouble(fault.kind, fault.site, since_s, time.monotonic()))

    async def _dies(self, fault: EndpointFault) -> None:
        await in_thread(self._cluster.servers[fault.site].kill_all)
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.start_server, fault.site)

    async def _dies_again(self, fault: EndpointFault) -> None:
        for _ in range(3):
            await in_thread(self._cluster.servers[fault.site].kill_all)
            await in_thread(self._cluster.start_server, fault.site)

    async def _hangs(self, fault: EndpointFault) -> None:
        pid = self._cluster.servers[fault.site].pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(fault.duration_s)
        os.kill(pid, signal.SIGCONT)
        await in_thread(self._cluster.tell, fault.site, Manners())  # it answers again

    async def _hangs_and_dies(self, fault: EndpointFault) -> None:
        os.kill(self._cluster.servers[fault.site].pid, signal.SIGSTOP)
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.servers[fault.site].kill_all)
        await in_thread(self._cluster.start_server, fault.site)

    async def _answers_500(self, fault: EndpointFault) -> None:
        await self._behaves(fault, Manners("refusing"))

    async def _is_busy(self, fault: EndpointFault) -> None:
        after = formatdate(time.time() + 2, usegmt=True) if fault.retry_after == "date" else fault.retry_after
        await self._behaves(fault, Manners("refusing", fault.status, after))

    async def _cuts(self, fault: EndpointFault) -> None:
        await self._behaves(fault, Manners("cutting"))

    async def _behaves(self, fault: EndpointFault, manners: Manners) -> None:
        await in_thread(self._cluster.tell, fault.site, manners)
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.tell, fault.site, Manners())


async def rewrite(cluster: EndpointCluster, die: random.Random) -> None:
    """The models file, again and again until cancelled: other weights, fewer endpoints, all; a wrong one at times."""
    try:
        while True:
            wrong = die.random() < 0.15
            cluster.write_models(die.choice(WRONG_FILES) if wrong else cluster.models_text(die))
            await asyncio.sleep(REWRITE_S)
    finally:
        cluster.write_models(cluster.models_text())
