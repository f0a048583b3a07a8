"""A value that one process writes and others read, in memory that they share since they were forked."""

import os
import zlib
from struct import Struct

_HEAD = Struct(">QQI")  # generation, bytes that follow, their checksum


class SharedValue:
    """At a place in a file; of so many bytes at most, if others are behind it. Written as a whole, with a checksum: one
    that is being written is read the next time."""

    def __init__(self, file: int, offset: int, max_bytes: int | None = None) -> None:
        self._file = file
        self._offset = offset
        self._max_bytes = max_bytes
        self._generation = 0

    def write(self, content: bytes) -> None:
        """By one process at a time. What is too large leaves the one before."""
        if self._max_bytes is None or _HEAD.size + len(content) <= self._max_bytes:
            self._generation += 1
            self._put(_HEAD.pack(self._generation, len(content), zlib.crc32(content)) + content)

    def clear(self) -> None:
        """There is none any more; for who writes it next."""
        self._put(bytes(_HEAD.size))

    def read(self, generation: int = 0) -> tuple[int, bytes] | None:
        """One of another generation, if there is one and all of it is here."""
        head = os.pread(self._file, _HEAD.size, self._offset)
        if len(head) < _HEAD.size:
            return None
        newest, size, checksum = _HEAD.unpack(head)
        if newest in (0, generation):
            return None
        content = os.pread(self._file, size, self._offset + _HEAD.size)
        return (newest, content) if zlib.crc32(content) == checksum else None

    def _put(self, content: bytes) -> None:
        os.pwrite(self._file, content, self._offset)
