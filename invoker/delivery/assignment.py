"""Who ships which journal: a worker its own and those of the dead; `invoker ship` only those of the dead."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from invoker.delivery.outbox import Outbox
from invoker.delivery.recovery import RecoveredJournal, adopt_dead
from invoker.journal.directory import Bound
from invoker.journal.durability import GroupSync
from invoker.journal.journal import Journal
from shared import logs
from shared.clock import Clock
from shared.tasks import Background
from shared.wire import Report

OUTBOX_GRACE_S = 3.0
"""How long a worker that stops tries to hand over what waits; then it stays in the journal."""
DROPPED = "invoker_records_dropped_total"

log = logs.get("shipping")


@contextlib.asynccontextmanager
async def shipping(outbox: Outbox, journal: Journal, background: Background) -> AsyncIterator[None]:
    """A worker's own journal on its way; at the end all of it is handed over, or left for an adopter."""
    try:
        async with background.task("outbox", outbox.run, ends=True) as task:
            yield
            outbox.finish()
            if outbox.connected:
                await asyncio.wait([task], timeout=OUTBOX_GRACE_S)
    finally:
        if not outbox.finished and journal.is_unused:
            await asyncio.to_thread(journal.discard)
        elif not outbox.finished:
            log.warning("shipping.records_left", records=journal.records_waiting, journal=str(journal.directory))
        journal.close()


@contextlib.asynccontextmanager
async def adopting(bound: Bound, socket_path: Path, clock: Clock, background: Background) -> AsyncIterator[None]:
    """The journals of the dead on their way, as long as this worker lives."""
    async with background.task("adoption", lambda: _adopt(bound, socket_path, clock, Shipped(), once=False)):
        yield


@dataclasses.dataclass(slots=True)
class Shipped:
    """What `ship_dead` has done so far: journals emptied and removed, and records that the sidecar has."""

    journals: int = 0
    records: int = 0
    current: Journal | None = None

    @property
    def progress(self) -> tuple[int, int]:
        """Changes as long as something arrives."""
        return self.journals, 0 if self.current is None else self.current.first_sequence


async def ship_dead(bound: Bound, socket_path: Path, clock: Clock, shipped: Shipped) -> None:
    """Ship the journals of all dead workers, and end; wait for the sidecar as long as it takes."""
    await _adopt(bound, socket_path, clock, shipped, once=True)


async def _adopt(bound: Bound, socket_path: Path, clock: Clock, shipped: Shipped, *, once: bool) -> None:
    async def ship(journal: RecoveredJournal) -> None:
        first_sequence, shipped.current = journal.first_sequence, journal
        # Whatever was promised of it: what is shipped must not be taken back by a loss of power.
        durable = GroupSync(journal).wait
        await Outbox(journal, socket_path, clock, dead_report(journal), [], durable, finishing=True).run()
        shipped.journals += 1
        shipped.records += journal.first_sequence - first_sequence

    await adopt_dead(bound, clock, ship, once=once)


def dead_report(journal: Journal) -> Callable[[bool], Report]:
    """Makes the reports of a producer that has died: what its journal says that it dropped."""
    return lambda _everything: Report(counters={DROPPED: dict(journal.dropped)})
