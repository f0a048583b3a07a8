"""Journals of dead producers: found, locked, accounted for, and shipped under their own id and sequence.

A call that was begun and never ended is one that died with its worker: it becomes a failure record. That
record is written into the dead one's journal first, so that an adopter that dies too repeats nothing.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from invoker.journal import DROP_REASONS, Begun, Journal
from invoker.journal_directory import REMOVED_PREFIX, Bound, lock_directory, remove_hidden
from invoker.segment import BEGIN, RECORD, Segment
from shared import logs
from shared.clock import Clock
from shared.files import OWN_ERRORS
from shared.record import ErrorType, Record

SCAN_INTERVAL_S = 1.0
PRODUCER_ID_CHARS = 32
DIED_LOG = "the gateway worker died during the call; its outcome is not known"

log = logs.get("recovery")


class RecoveredJournal(Journal):
    """The journal of a dead producer, in our hands. `settle` accounts for its open calls."""

    def __init__(self, directory: Path, lock: int, bound: Bound, clock: Clock) -> None:
        """Read what is there. Takes up to a second per 100 MiB."""
        super().__init__(directory, lock, bound, clock)
        self._last_seen_us = 0
        for path in sorted(directory.glob("*.segment")):
            segment = Segment.open(path)
            if segment is None:
                log.error("recovery.no_segment", file=str(path))
                continue
            self._take_over(segment)
            if self._segments:
                self._segments[-1].unmap()
            self._segments.append(segment)
        if self._segments:
            self.first_sequence = self._segments[0].first_sequence
            self.dropped = dict(zip(DROP_REASONS, self._segments[-1].dropped(), strict=True))
        self._reserve_open()
        for path in directory.glob("*.spare"):
            path.unlink()

    def settle(self, committed: int) -> None:
        """Trim, then append a `gateway_died` record for each call that never ended. Not before it is known
        what is committed: after a loss of power, that can be more than what is here."""
        self.trim(committed)
        for call, (_, payload) in [*self._open.items()]:
            begun = msgspec.msgpack.decode(payload, type=Begun)
            latency_us = max(self._last_seen_us - begun.timestamp_us, 0)  # it was that long at least
            died = ErrorType.GATEWAY_DIED
            record = Record(
                begun.model_id, begun.timestamp_us, latency_us, died, DIED_LOG, begun.input_size, 0, begun.trace_id
            )
            self.append(record, call)

    def _take_over(self, segment: Segment) -> None:
        self.next_sequence = max(self.next_sequence, segment.first_sequence)
        for entry in segment.entries():
            self._last_call = max(self._last_call, entry.call)
            if entry.kind == BEGIN:
                self._open[entry.call] = (segment.serial, entry.payload)
                begun = msgspec.msgpack.decode(entry.payload, type=Begun)
                self._last_seen_us = max(self._last_seen_us, begun.timestamp_us)
                continue
            self._open.pop(entry.call, None)
            if entry.kind == RECORD:
                self.next_sequence = entry.sequence + 1
                record = msgspec.msgpack.decode(entry.payload, type=Record)
                self._last_seen_us = max(self._last_seen_us, record.timestamp_us + record.latency_us)


def recover_one(bound: Bound, clock: Clock, unreadable: set[str]) -> RecoveredJournal | None:
    """The first journal whose owner is dead, locked and read; None if there is none. Blocks."""
    if not bound.root.is_dir():
        return None
    for directory in sorted(bound.root.iterdir()):
        if directory.name.startswith(REMOVED_PREFIX):
            remove_hidden(directory)
        elif len(directory.name) != PRODUCER_ID_CHARS or directory.name in unreadable:
            continue
        elif (lock := lock_directory(directory)) is not None:
            try:
                return RecoveredJournal(directory, lock, bound, clock)
            except (OSError, msgspec.DecodeError) as error:
                os.close(lock)
                if isinstance(error, OSError) and error.errno in OWN_ERRORS:
                    raise  # the journal is not to blame: it is tried again
                log.error("recovery.unreadable", directory=str(directory), reason=str(error))
                unreadable.add(directory.name)
    return None


async def adopt_dead(
    bound: Bound, clock: Clock, ship: Callable[[RecoveredJournal], Awaitable[None]], *, once: bool = False
) -> None:
    """Ship the journals of the dead, one after the other; then, unless `once`, look for more for ever."""
    unreadable: set[str] = set()  # left as they are, and told of once
    while True:
        recovering = asyncio.ensure_future(asyncio.to_thread(recover_one, bound, clock, unreadable))
        try:
            journal = await asyncio.shield(recovering)
        except asyncio.CancelledError:
            if (found := await recovering) is not None:
                found.close()
            raise
        if journal is None:
            if once:
                return
            await asyncio.sleep(SCAN_INTERVAL_S)
            continue
        try:
            await _ship_and_remove(journal, ship)
        except Exception:
            log.exception("recovery.failed", producer=journal.producer_id)
            unreadable.add(journal.producer_id)


async def _ship_and_remove(journal: RecoveredJournal, ship: Callable[[RecoveredJournal], Awaitable[None]]) -> None:
    log.info("recovery.adopted", producer=journal.producer_id, records=journal.records_waiting)
    try:
        if journal.is_unused:
            journal.remove()
        else:
            await ship(journal)
    except BaseException:
        journal.close()
        raise
    log.info("recovery.shipped", producer=journal.producer_id)
