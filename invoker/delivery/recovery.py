"""Journals of dead producers: found, locked, accounted for, and shipped under their own id and sequence.

A call that was begun and never ended is one that died with its worker: it becomes a failure record. That
record is written into the dead one's journal first, so that an adopter that dies too repeats nothing.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from invoker.journal.begun import Begun
from invoker.journal.directory import REMOVED_PREFIX, Bound, lock_directory, remove_hidden
from invoker.journal.journal import Journal
from invoker.journal.segment import BEGIN, RECORD, Entry, Segment
from invoker.journal.spares import DROP_REASONS
from shared import logs
from shared.clock import Clock
from shared.files import OWN_ERRORS
from shared.record import ErrorType

SCAN_INTERVAL_S = 1.0
SLICE_ENTRIES, PAUSE_S = 500, 0.003
"""A journal of 84 MiB has a million entries: read in one go, even on another thread, they hold up all calls."""
PRODUCER_ID_CHARS = 32
LONGEST_CALL_US = 86_400_000_000
"""No timeout can be set to more."""
DIED_LOG = "the gateway worker died during the call; its outcome is not known"

log = logs.get("recovery")


class RecoveredJournal(Journal):
    """The journal of a dead producer, in our hands. `settle` accounts for its open calls."""

    def __init__(self, directory: Path, lock: int, bound: Bound, clock: Clock) -> None:
        super().__init__(directory, lock, bound, clock, synced=True)
        self._last: Entry | None = None

    @classmethod
    async def open(cls, directory: Path, lock: int, bound: Bound, clock: Clock, pause_s: float) -> "RecoveredJournal":
        """All that is there, read in slices of a millisecond, a pause after each. Takes over the lock, also if it
        raises `OSError`."""
        journal = cls(directory, lock, bound, clock)
        try:
            await journal._read(pause_s)
        except BaseException:
            journal.close()
            raise
        return journal

    async def settle(self, committed: int) -> None:
        """Trim, then append a `gateway_died` record for each call that never ended. Not before it is known
        what is committed: after a loss of power, that can be more than what is here."""
        if len(self._segments) > 1:
            for number, _ in enumerate(self._carry_marks(self._segments[-2].serial)):  # before it is done in one go
                await _pause_after(number)
        self.trim(committed)
        last_seen_us = _time_us(self._last)
        for number, (call, (_, payload)) in enumerate([*self._open.items()]):
            await _pause_after(number)
            try:
                begun = msgspec.msgpack.decode(payload, type=Begun)
            except msgspec.DecodeError as error:
                log.error("recovery.unreadable_mark", producer=self.producer_id, reason=str(error))
                continue
            latency_us = last_seen_us - begun.timestamp_us  # it was that long at least
            if not 0 <= latency_us <= LONGEST_CALL_US:  # the clock has jumped, and says nothing of it
                latency_us = 0
            self.append(begun.ended(latency_us, ErrorType.GATEWAY_DIED, DIED_LOG), call)

    async def _read(self, pause_s: float) -> None:
        for path in await asyncio.to_thread(_segment_files, self.directory):
            try:
                segment = await asyncio.to_thread(Segment.open, path)
            except FileNotFoundError:
                continue  # it was acknowledged, and whoever had the journal before has just removed it
            if segment is None:
                log.error("recovery.no_segment", file=str(path))
                continue
            if self._segments:
                self._segments[-1].unmap()
                self._unsynced_files.append(self._segments[-1].path)
            self._segments.append(segment)
            await self._take_over(segment, pause_s)
        if self._segments:
            self.first_sequence = self._segments[0].first_sequence
            self.dropped = dict(zip(DROP_REASONS, self._segments[-1].dropped(), strict=True))
        self._reserve_open()

    async def _take_over(self, segment: Segment, pause_s: float) -> None:
        self.next_sequence = max(self.next_sequence, segment.first_sequence)
        for number, entry in enumerate(segment.recover(), 1):
            if number % SLICE_ENTRIES == 0:
                await asyncio.sleep(pause_s)
            self._last_call = max(self._last_call, entry.call)
            if entry.kind == BEGIN:
                self._open[entry.call] = (segment.serial, entry.payload)
                self._last = entry
                continue
            self._open.pop(entry.call, None)
            if entry.kind == RECORD:
                self.next_sequence = entry.sequence + 1
                self._last = entry


async def _pause_after(number: int) -> None:
    if number % SLICE_ENTRIES == 0:
        await asyncio.sleep(0)


class _Times(msgspec.Struct, array_like=True):
    """Of a record, what tells when its call ended; of a begin mark, the time alone."""

    model_id: msgspec.Raw
    timestamp_us: int
    latency_us: int


def _time_us(entry: Entry | None) -> int:
    """When an entry was written; 0 if it doesn't say. (A clock that was wrong before that is forgotten.)"""
    if entry is None:
        return 0
    try:
        times = msgspec.msgpack.decode(entry.payload, type=_Times)
    except msgspec.DecodeError:
        return 0
    return times.timestamp_us + (times.latency_us if entry.kind == RECORD else 0)


def _segment_files(directory: Path) -> list[Path]:
    """In their order. Spares are removed: they hold nothing."""
    for path in directory.glob("*.spare"):
        path.unlink()
    return sorted(directory.glob("*.segment"))


def find_dead(bound: Bound, unreadable: set[str]) -> tuple[Path, int] | None:
    """The first journal whose owner is dead, and the lock on it; None if there is none. Blocks."""
    if not bound.root.is_dir():
        return None
    for directory in sorted(bound.root.iterdir()):
        if directory.name.startswith(REMOVED_PREFIX):
            remove_hidden(directory)
        elif len(directory.name) != PRODUCER_ID_CHARS or directory.name in unreadable:
            continue
        else:
            try:
                lock = lock_directory(directory)
            except OSError as error:
                _leave(directory, error, unreadable)
                continue
            if lock is not None:
                return directory, lock
    return None


def _leave(directory: Path, error: OSError, unreadable: set[str]) -> None:
    """To itself, and go on with others; unless we have run out of something, and it isn't to blame."""
    if error.errno in OWN_ERRORS:
        raise error
    log.error("recovery.unreadable", directory=str(directory), reason=str(error))
    unreadable.add(directory.name)


async def recover_one(
    bound: Bound, clock: Clock, unreadable: set[str], pause_s: float = 0.0
) -> RecoveredJournal | None:
    """The first journal whose owner is dead, locked and read; None if there is none."""
    while True:
        finding = asyncio.ensure_future(asyncio.to_thread(find_dead, bound, unreadable))
        try:
            found = await asyncio.shield(finding)
        except asyncio.CancelledError:
            if (found := await finding) is not None:
                os.close(found[1])
            raise
        if found is None:
            return None
        directory, lock = found
        try:
            return await RecoveredJournal.open(directory, lock, bound, clock, pause_s)
        except OSError as error:
            _leave(directory, error, unreadable)


async def adopt_dead(
    bound: Bound, clock: Clock, ship: Callable[[RecoveredJournal], Awaitable[None]], *, once: bool = False
) -> None:
    """Ship the journals of the dead, one after the other; then, unless `once`, look for more for ever."""
    unreadable: set[str] = set()  # left as they are, and told of once
    while True:
        journal = await recover_one(bound, clock, unreadable, 0.0 if once else PAUSE_S)
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
            await asyncio.to_thread(journal.discard)
        else:
            await ship(journal)
    finally:
        journal.close()
    log.info("recovery.shipped", producer=journal.producer_id)
