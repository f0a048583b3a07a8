"""Faults done to a cluster. Each ends with its parts back, or with an AssertionError."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.chaos import disk
from tests.chaos.calls import Callers
from tests.chaos.cluster import Cluster, wait_for
from tests.chaos.faults import GATEWAY, KINDS, MODELS, SIDECAR, Fault
from tests.chaos.models import WIDE
from tests.chaos.views import Sidecar
from tests.faketime import RIGHT, FakeTime

WIDE_RATE = 400.0
WIDE_S = 6.0
FILLING_RATE = 100.0
SOCKET_BACK_S = 10.0
NOTICED_S = 30.0
UNCOMMITTED_S = 0.5
WRONG_S = 1.0
"""At least so long a clock is wrong: the sidecar looks at its own once a second."""
ADOPTED_S = 1.5
"""Longer than the time in which living workers look for the journals of dead ones."""


class Injector:
    """Does faults; those of different parts at the same time, those of one part one after the other."""

    def __init__(self, cluster: Cluster, callers: Callers, sidecar: Sidecar) -> None:
        self._cluster = cluster
        self._sidecar = sidecar
        self._callers = callers
        self._locks = {part: asyncio.Lock() for part in (SIDECAR, GATEWAY, MODELS)}

    async def inject(self, fault: Fault) -> None:
        """One fault, from the moment that its parts are well until they are well again."""
        async with contextlib.AsyncExitStack() as stack:
            for part in sorted(KINDS[fault.kind]):
                await stack.enter_async_context(self._locks[part])
            await getattr(self, f"_{fault.kind}")(fault)

    async def _sidecar_killed(self, fault: Fault) -> None:
        self._cluster.sidecar.kill_all()
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.restart_sidecar)

    async def _sidecar_restarted(self, fault: Fault) -> None:
        await in_thread(self._cluster.stop, self._cluster.sidecar)
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.restart_sidecar)

    async def _sidecar_frozen(self, fault: Fault) -> None:
        async with frozen(self._cluster.sidecar.pid):
            await asyncio.sleep(fault.duration_s)
            if fault.worse:
                self._cluster.sidecar.kill_all()
        if fault.worse:
            await in_thread(self._cluster.restart_sidecar)

    async def _socket_removed(self, fault: Fault) -> None:
        """A worker dies at the same time: the next one, and the dead one's journal, need the socket."""
        cluster = self._cluster
        cluster.socket.unlink()
        await self._worker_killed(fault)
        await in_thread(wait_for, cluster.socket.exists, "the sidecar makes its socket again", SOCKET_BACK_S)

    async def _sidecar_frozen_worker_killed(self, fault: Fault) -> None:
        """When it goes on, it finds the dead worker's last batches, and its adopter who sends them again."""
        async with frozen(self._cluster.sidecar.pid):
            await asyncio.sleep(UNCOMMITTED_S)
            await self._worker_killed(fault)
            await asyncio.sleep(ADOPTED_S)

    async def _data_disk_full(self, fault: Fault) -> None:
        async with self._commits_fail():
            await asyncio.sleep(fault.duration_s)
        await self._until_ready(ready=True)

    async def _data_disk_full_sidecar_killed(self, fault: Fault) -> None:
        """What it had received and not committed must not have been acknowledged."""
        async with self._commits_fail():
            await asyncio.sleep(fault.duration_s)
            self._cluster.sidecar.kill_all()
        await in_thread(self._cluster.restart_sidecar)

    async def _data_disk_full_worker_killed(self, fault: Fault) -> None:
        """What the dead worker sent waits for its commit, and its adopter sends it again."""
        async with self._commits_fail():
            await asyncio.sleep(UNCOMMITTED_S)
            await self._worker_killed(fault)
            await asyncio.sleep(ADOPTED_S)

    @contextlib.asynccontextmanager
    async def _commits_fail(self) -> AsyncIterator[None]:
        """A full disk, from when the sidecar notices on: it first fills the space that its log has already, which wide
        records do in seconds, however large it is and however slow the machine."""
        async with full(self._cluster.data.parent):
            filling = asyncio.create_task(self._callers.run(FILLING_RATE, WIDE))
            try:
                await self._until_ready(ready=False)
            finally:
                filling.cancel()
            yield

    async def _until_ready(self, *, ready: bool) -> None:
        deadline_s = time.monotonic() + NOTICED_S
        while await self._sidecar.is_ready() != ready:
            assert time.monotonic() < deadline_s, f"the sidecar is not {'ready' if ready else 'unready'}"
            await asyncio.sleep(0.05)

    async def _worker_killed(self, fault: Fault) -> None:
        pid = self._cluster.worker_pids()[fault.worker]
        self._cluster.kill_worker(fault.worker)
        await in_thread(self._cluster.await_worker, fault.worker, pid)

    async def _workers_killed(self, fault: Fault) -> None:
        """One after the other, so that an adopter may die while it adopts."""
        pids = self._cluster.worker_pids()
        for number in range(len(pids)):
            self._cluster.kill_worker(number)
            await asyncio.sleep(fault.duration_s / 2)
        for number, pid in enumerate(pids):
            await in_thread(self._cluster.await_worker, number, pid)

    async def _worker_frozen(self, fault: Fault) -> None:
        pid = self._cluster.worker_pids()[fault.worker]
        async with frozen(pid):
            await asyncio.sleep(fault.duration_s)
            if fault.worse:
                self._cluster.kill_worker(fault.worker)
        if fault.worse:
            await in_thread(self._cluster.await_worker, fault.worker, pid)

    async def _parent_killed(self, fault: Fault) -> None:
        await in_thread(self._cluster.kill_parent)
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.start_workers)

    async def _gateway_restarted(self, fault: Fault) -> None:
        await in_thread(self._cluster.stop, self._cluster.gateway)
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.start_workers)

    async def _journal_disk_full(self, fault: Fault) -> None:
        """The sidecar away, no space for further segments, and records that fill those that are there."""
        cluster = self._cluster
        cluster.sidecar.kill_all()
        async with full(cluster.journal.parent):
            wide = asyncio.create_task(self._callers.run(WIDE_RATE, WIDE))
            try:
                await asyncio.sleep(WIDE_S)
                if fault.worse:
                    await self._worker_killed(fault)
            finally:
                wide.cancel()
        await in_thread(cluster.restart_sidecar)

    async def _models_killed(self, fault: Fault) -> None:
        self._cluster.models.kill_all()
        await asyncio.sleep(fault.duration_s)
        await in_thread(self._cluster.start_models)

    async def _sidecar_clock_jumps(self, fault: Fault) -> None:
        """Under the wrong clock it may be started anew, too."""
        async with wrong(self._cluster.sidecar_clock, fault.jump):
            await asyncio.sleep(WRONG_S + fault.duration_s)
            if fault.worse:
                await self._sidecar_killed(fault)
        if fault.worse:
            await self._sidecar_killed(fault)

    async def _gateway_clock_jumps(self, fault: Fault) -> None:
        """A worker may die, whose calls are recorded by another with the right time, or the wrong one."""
        async with wrong(self._cluster.gateway_clock, fault.jump):
            await asyncio.sleep(WRONG_S + fault.duration_s)
            if fault.worse:
                await self._worker_killed(fault)

    async def _all_clocks_jump(self, fault: Fault) -> None:
        async with wrong(self._cluster.sidecar_clock, fault.jump):
            await self._gateway_clock_jumps(fault)

    async def _all_killed(self, fault: Fault) -> None:
        self._cluster.kill_everything()
        await asyncio.sleep(fault.duration_s)
        starts = (self._cluster.start_models, self._cluster.restart_sidecar, self._cluster.start_workers)
        await asyncio.gather(*map(in_thread, starts))


@contextlib.asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    """SIGSTOP, and SIGCONT at the end if there still is such a process."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def wrong(clock: FakeTime | None, off: str) -> AsyncIterator[None]:
    """A clock that is off for a while."""
    assert clock is not None, "there are no clocks to move"
    clock.set(off)
    try:
        yield
    finally:
        clock.set(RIGHT)


@contextlib.asynccontextmanager
async def full(path: Path) -> AsyncIterator[None]:
    """Not a byte free on this disk."""
    disk.fill(path)
    try:
        yield
    finally:
        disk.free(path)


async def in_thread(blocking: Callable[..., object], *arguments: object) -> None:
    """Run what blocks without keeping the callers waiting."""
    await asyncio.to_thread(blocking, *arguments)
