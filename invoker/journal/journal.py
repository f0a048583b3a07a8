"""A producer's records, from the moment they are appended until the sidecar has them.

Each worker life is a producer: a directory named by its id, locked while it lives, with segments in it.
An entry is in a mapped file before the reply is written, so it outlives the process. See `recovery` for
what happens to a directory whose owner has died.
"""

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from invoker.journal.begun import Begun
from invoker.journal.directory import REMOVED_PREFIX, Bound, lock_directory, remove_hidden, sync_directory
from invoker.journal.reader import JournalReader
from invoker.journal.segment import BEGIN, END, ENTRY_BYTES, RECORD, Segment
from invoker.journal.spares import DROP_REASONS, Spares, remove_files
from shared import logs
from shared.clock import Clock
from shared.record import Record
from shared.settings import StartupError
from shared.wire import encode_record

MAX_UNSYNCED_FILES = 1000
"""Of a disk that can't be synced, the latest."""
NO_CALL = 0
REFUSED = "refused"

log = logs.get("journal")


class Unsynced(NamedTuple):
    """What a loss of power could take of a journal, all that has a sequence up to `upto`; and segments to remove."""

    upto: int
    files: list[Path]
    directory: Path | None
    removable: list[Path]


class Journal:
    """One producer's journal: appended to by the calls, read and trimmed by the outbox, on one event loop.

    Sequences start at 1 and have no gaps. `on_append` is called after each append, `on_change` after files have come
    or gone. Past the bound, or on a full disk, records are dropped and counted in `dropped` by reason.
    """

    def __init__(self, directory: Path, lock: int, bound: Bound, clock: Clock, *, synced: bool = False) -> None:
        """`synced`: records are read only once `note_synced` was told of them, see `GroupSync`."""
        self.directory = directory
        self.producer_id = directory.name
        self.next_sequence = 1
        self.first_sequence = 1
        self.dropped: dict[str, int] = {}
        self.on_append: Callable[[], object] = _nothing
        self.on_change: Callable[[], object] = _nothing
        self._lock = lock
        self._bound = bound
        self._synced = synced
        self._synced_to = 0
        self._unsynced_files: list[Path] = []  # that were appended to before the active one
        self._directory_changed = True
        self._removable: list[Path] = []
        self._segments: deque[Segment] = deque()
        self._spares = Spares(directory, bound, clock)
        self._last_call = NO_CALL
        self._open: dict[int, tuple[int, bytes]] = {}  # call → (serial of the segment of its mark, mark)
        self._reserved = 0  # bytes kept free in the active segment, to carry and to end each open call
        self._reader = JournalReader(self._segments)

    @classmethod
    def create(cls, bound: Bound, clock: Clock, *, synced: bool = False) -> "Journal":
        """A new producer's journal; `StartupError` if the directory can't be written. Blocks."""
        producer_id = secrets.token_hex(16)
        hidden = bound.root / f".new-{producer_id}"
        try:
            made = [path for path in (bound.root, *bound.root.parents) if not path.exists()]
            bound.root.mkdir(parents=True, exist_ok=True)
            hidden.mkdir()
            lock = lock_directory(hidden)
            assert lock is not None
            directory = hidden.rename(bound.root / producer_id)  # seen by others only once it is locked
            if synced:
                for path in (bound.root, *(path.parent for path in made)):
                    sync_directory(path)
        except OSError as error:
            message = f"INVOKER_JOURNAL_DIR: {str(bound.root)!r} can't be written: {error.strerror}"
            raise StartupError(message) from None
        journal = cls(directory, lock, bound, clock, synced=synced)
        journal._rotate()
        return journal

    @property
    def full(self) -> str | None:
        """Why records are dropped, if they are."""
        return self._spares.full

    @property
    def records_waiting(self) -> int:
        return self.next_sequence - self.first_sequence

    @property
    def bytes_used(self) -> int:
        return sum(segment.size for segment in self._segments) + sum(spare.size for spare in self._spares)

    @property
    def is_unused(self) -> bool:
        """Whether there never was anything in it to tell of."""
        return self.next_sequence == 1 and not self._open and not any(self.dropped.values())

    # What calls do.

    def begin(self, begun: Begun) -> int:
        """Mark that a call is sent upstream; the call's number for `append`, `NO_CALL` if there is no room."""
        call = self._last_call + 1
        payload = msgspec.msgpack.encode(begun)
        reserved = self._reserved + _reserve(payload)
        # Beyond half a segment of open calls, a call goes without a mark.
        if reserved * 2 > self._bound.segment_bytes or not self._add(BEGIN, call, 0, payload, reserved):
            return NO_CALL
        self._last_call = call
        self._reserved = reserved
        self._open[call] = (self._segments[-1].serial, payload)
        return call

    def append(self, record: Record, call: int = NO_CALL) -> None:
        """Keep the record under the next sequence, and end its call."""
        kept = self._add(RECORD, call, self.next_sequence, encode_record(record), self._reserved)
        if kept:
            self.next_sequence += 1
        mark = self._open.pop(call, None)
        if mark is not None:
            self._reserved -= _reserve(mark[1])
        if kept:
            self.on_append()
            return
        self._drop()
        if mark is not None:
            # Room for this is kept free: an unended call would be taken for one that died.
            self._segments[-1].add(END, call, 0, b"")

    def _add(self, kind: int, call: int, sequence: int, payload: bytes, reserved: int) -> bool:
        """Write an entry, leaving so many bytes free behind it; False if there is no space for it."""
        needed = ENTRY_BYTES + len(payload) + reserved
        active = self._segments[-1] if self._segments else None
        if active is None or active.position + needed > active.size:
            if not self._rotate():
                return False
            active = self._segments[-1]
        active.add(kind, call, sequence, payload)
        if active.position * 2 > active.size:
            self._spares.prepare()
        return True

    def _reserve_open(self) -> None:
        """Keep room for the open calls that were found; without it, what ends them would free it twice."""
        self._reserved = sum(_reserve(mark) for _, mark in self._open.values())

    def _drop(self) -> None:
        reason = self.full or "journal_full"
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        if self._segments:
            journal_full, disk_full = (self.dropped.get(reason, 0) for reason in DROP_REASONS)
            self._segments[-1].set_dropped((journal_full, disk_full))

    # What the outbox does.

    def read(self, sequence: int, max_records: int, max_bytes: int) -> tuple[int, list[bytes]]:
        """Encoded records from a sequence on, see `JournalReader`; of a synced journal, only what is synced."""
        last = self._synced_to if self._synced else self.next_sequence - 1
        if sequence > last:
            return sequence, []
        first, records = self._reader.read(sequence, max_records, max_bytes)
        return first, records if first + len(records) - 1 <= last else records[: max(last + 1 - first, 0)]

    async def settle(self, committed: int) -> None:
        """Take over what the sidecar has committed, at the beginning of a connection."""
        self.trim(committed)

    def trim(self, committed: int) -> None:
        """Forget all up to and including this sequence, and use its segments again."""
        self.first_sequence = max(self.first_sequence, committed + 1)
        self.next_sequence = max(self.next_sequence, self.first_sequence)
        done: list[Segment] = []
        while len(self._segments) > 1 and self._segments[1].first_sequence <= self.first_sequence:
            done.append(self._segments.popleft())
        if done:
            for _ in self._carry_marks(done[-1].serial):
                pass
            self._recycle(done)

    def take_unsynced(self) -> Unsynced:
        """What is to be synced by now, in this order, and the files to remove after that, one after the other."""
        upto = self.next_sequence - 1
        files, self._unsynced_files = self._unsynced_files, []
        if self._segments and (upto > self._synced_to or files):
            files.append(self._segments[-1].path)
        directory = self.directory if self._directory_changed else None
        self._directory_changed = False
        removable, self._removable = self._removable, []
        return Unsynced(upto, files, directory, removable)

    def note_synced(self, upto: int) -> None:
        """All up to this sequence may be shipped."""
        self._synced_to = max(self._synced_to, upto)

    def note_not_synced(self, unsynced: Unsynced) -> None:
        """What was taken is still to be synced."""
        self._unsynced_files = [*unsynced.files, *self._unsynced_files][-MAX_UNSYNCED_FILES:]
        self._directory_changed |= unsynced.directory is not None
        self._removable = [*unsynced.removable, *self._removable]

    def count_refused(self, count: int) -> None:
        """So many records are dropped because the sidecar can't take them."""
        self.dropped[REFUSED] = self.dropped.get(REFUSED, 0) + count

    def close(self) -> None:
        """Leave the directory as it is, for whoever adopts it. Idempotent."""
        for segment in (*self._segments, *self._spares):
            segment.unmap()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def discard(self) -> None:
        """Remove the directory, in which nothing waits. Once renamed, nobody takes it for a journal. Blocks, and may do
        so on another thread; `close` is still to be called."""
        hidden = self.directory.rename(self._bound.root / f"{REMOVED_PREFIX}{self.producer_id}")
        sync_directory(self._bound.root)
        remove_hidden(hidden)

    def remove(self) -> None:
        """Both. Blocks."""
        self.discard()
        self.close()

    # Segments.

    def _rotate(self) -> bool:
        """Go on in another segment; False if there is none to be had, which is tried again after a while."""
        segment = self._spares.take(self.records_waiting)
        if segment is None:
            return False
        old = self._segments[-1] if self._segments else None
        journal_full, disk_full = (self.dropped.get(reason, 0) for reason in DROP_REASONS)
        serial = old.serial + 1 if old else 1
        segment.activate(self.directory, serial, self.next_sequence, (journal_full, disk_full))
        self._segments.append(segment)
        if old is not None:
            if self._synced:
                self._unsynced_files.append(old.path)
            if not self._reader.is_reading(old):
                old.unmap()
        self._directory_changed = True
        self.on_change()
        self._spares.note_space(self.dropped)
        return True

    def _carry_marks(self, serial: int) -> Iterator[None]:
        """Write the marks of open calls that stand in segments to be used again anew, one by one, into the room that
        is kept for them: each call is carried at most once per active segment."""
        active = self._segments[-1]
        for call, (marked_in, payload) in [*self._open.items()]:
            if marked_in <= serial:
                active.add(BEGIN, call, 0, payload)
                self._open[call] = (active.serial, payload)
                yield

    def _recycle(self, segments: list[Segment]) -> None:
        removable: list[Path] = []
        for segment in segments:
            self._reader.leave(segment)
            # Of a synced journal, none is used again: it could lose its records to a loss of power while an older file
            # with their begin marks is still there.
            if self._synced or not self._spares.keep(segment):
                segment.unmap()
                removable.append(segment.path)
        if self._synced:
            self._removable += removable  # in their order, see `take_unsynced`
            self.on_change()
        elif removable:
            remove_files(removable)
        self._spares.note_space(self.dropped)


def _reserve(mark: bytes) -> int:
    """Bytes to keep free for an open call: to write its mark again, and to end it."""
    return len(mark) + 2 * ENTRY_BYTES


def _nothing() -> None:
    pass
