"""Journal segments: memory-mapped files of checksummed entries, allocated up front and used again.

A file starts with a header of 64 bytes: magic, serial, first sequence, then two counts of dropped
records that are updated in place. Entries follow without gaps: crc32, then payload length, kind, call
and sequence, then the payload. The checksum is seeded with the serial, so what an earlier use of the file
left behind is no entry; the first bytes that are none end the segment.
"""

import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

BEGIN, RECORD, END = 1, 2, 3
"""A call was sent upstream · a record, which ends its call · a call ended and its record was dropped."""

_HEADER = struct.Struct("<8sQQ")
_DROPPED = struct.Struct("<QQ")
_DROPPED_AT = _HEADER.size
_HEADER_BYTES = 64
_MAGIC = b"INVJRNL1"

_CHECKSUM = struct.Struct("<I")
_ENTRY = struct.Struct("<IBQQ")
ENTRY_BYTES = _CHECKSUM.size + _ENTRY.size
INDEX_STEP = 1024
"""Of so many sequences, one offset is remembered: a reader that starts anew scans no further than that."""
MIN_SEGMENT_BYTES = 64 * 1024
_READ_BYTES = 1024 * 1024


class Entry(NamedTuple):
    """One entry as it is found; `end` is the offset behind it."""

    kind: int
    call: int
    sequence: int
    payload: bytes
    end: int


class Segment:
    """One file. `allocate` makes it, `activate` gives it a serial; then entries are added until it is full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.serial = 0
        self.first_sequence = 0
        self.position = _HEADER_BYTES
        self.size = 0
        self._index: list[tuple[int, int]] = []
        self._file = -1
        self._map: mmap.mmap | None = None

    @classmethod
    def allocate(cls, path: Path, size: int) -> "Segment":
        """A new file whose every block is there: a store into a hole of a full disk would be a SIGBUS.
        `OSError` (ENOSPC, EDQUOT) if it can't be had; nothing is left then."""
        segment = cls(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        segment._adopt(descriptor, size)
        return segment

    @classmethod
    def open(cls, path: Path) -> "Segment | None":
        """An existing file, to be gone through by `recover`; None if it is no activated segment. Blocks: all of it is
        read, so that later no event loop waits for the disk."""
        segment = cls(path)
        if path.stat().st_size < MIN_SEGMENT_BYTES:
            return None
        segment.map()
        for start in range(0, segment.size, _READ_BYTES):
            os.pread(segment.file, _READ_BYTES, start)
        magic, segment.serial, segment.first_sequence = _HEADER.unpack_from(segment.mapped, 0)
        if magic != _MAGIC or path.name != segment_name(segment.serial):
            segment.unmap()
            return None
        return segment

    def recover(self) -> Iterator[Entry]:
        """The entries of a file that was opened. Once all were seen, it can be read from, and goes on behind them."""
        for entry in self.entries():
            if entry.kind == RECORD and entry.sequence % INDEX_STEP == 0:
                self._index.append((entry.sequence, self.position))
            self.position = entry.end
            yield entry

    @property
    def mapped(self) -> mmap.mmap:
        assert self._map is not None
        return self._map

    @property
    def file(self) -> int:
        return self._file

    def map(self) -> None:
        """Map the file again after `unmap`. Idempotent."""
        if self._map is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            self._adopt(descriptor, os.fstat(descriptor).st_size)

    def unmap(self) -> None:
        """Give the memory back; the file stays. Idempotent."""
        if self._map is not None:
            self._map.close()
            self._map = None
            os.close(self._file)

    def activate(self, directory: Path, serial: int, first_sequence: int, dropped: tuple[int, int]) -> None:
        """Make this the segment with that serial. Whatever it held is gone."""
        self.serial, self.first_sequence, self.position = serial, first_sequence, _HEADER_BYTES
        self._index.clear()
        _HEADER.pack_into(self.mapped, 0, _MAGIC, serial, first_sequence)
        self.set_dropped(dropped)
        path = directory / segment_name(serial)
        self.path.rename(path)
        self.path = path

    def set_dropped(self, dropped: tuple[int, int]) -> None:
        _DROPPED.pack_into(self.mapped, _DROPPED_AT, *dropped)

    def dropped(self) -> tuple[int, int]:
        journal_full, disk_full = _DROPPED.unpack_from(self.mapped, _DROPPED_AT)
        return journal_full, disk_full

    def add(self, kind: int, call: int, sequence: int, payload: bytes) -> None:
        """Append an entry. The caller has made sure that it fits."""
        body = _ENTRY.pack(len(payload), kind, call, sequence) + payload
        start = self.position
        end = start + _CHECKSUM.size + len(body)
        self.mapped[start:end] = _CHECKSUM.pack(crc32(body, self.serial & 0xFFFFFFFF)) + body
        if kind == RECORD and sequence % INDEX_STEP == 0:
            self._index.append((sequence, start))
        self.position = end

    def offset_before(self, sequence: int) -> int:
        """An offset from which `entries` finds the record with this sequence, if it is here."""
        at = bisect_right(self._index, (sequence, self.size))
        return self._index[at - 1][1] if at else _HEADER_BYTES

    def entries(self, start: int = _HEADER_BYTES) -> Iterator[Entry]:
        """The entries from an offset on, up to the first bytes that are none."""
        mapped, size, seed = self.mapped, self.size, self.serial & 0xFFFFFFFF
        while start + ENTRY_BYTES <= size:
            (checksum,) = _CHECKSUM.unpack_from(mapped, start)
            body_start = start + _CHECKSUM.size
            length, kind, call, sequence = _ENTRY.unpack_from(mapped, body_start)
            end = body_start + _ENTRY.size + length
            if end > size:
                return
            body = mapped[body_start:end]
            if crc32(body, seed) != checksum or kind not in (BEGIN, RECORD, END):
                return
            yield Entry(kind, call, sequence, body[_ENTRY.size :], end)
            start = end

    def records(self, start: int, sequence: int, max_records: int, max_bytes: int) -> tuple[int, list[bytes], int]:
        """Payloads of the records from a sequence on, up to a hole or a limit (the first one may be beyond it);
        the sequence of the first, which is
        later than asked for behind a hole, and the offset behind the last. Each entry was checked by `recover` or
        written here, so its checksum is not looked at again."""
        mapped, end = self.mapped, self.position
        found: list[bytes] = []
        first, behind = sequence, start
        while start < end:
            length, kind, _, number = _ENTRY.unpack_from(mapped, start + _CHECKSUM.size)
            payload = start + ENTRY_BYTES
            start = payload + length
            if kind != RECORD or number < sequence:
                continue
            if not found:
                first = sequence = number
            elif number != sequence or length > max_bytes:
                break
            found.append(mapped[payload:start])
            sequence, behind = number + 1, start
            max_bytes -= length
            if len(found) >= max_records:
                break
        return first, found, behind

    def _adopt(self, descriptor: int, size: int) -> None:
        self._file = descriptor
        self.size = size
        self._map = mmap.mmap(descriptor, size)


def segment_name(serial: int) -> str:
    return f"{serial:012d}.segment"
