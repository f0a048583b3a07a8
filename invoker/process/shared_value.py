"""A value that one process writes and others read, in memory that they share since they were forked."""

import os
import zlib
from struct import Struct

_HEAD = Struct(">QQI")  # generation, bytes that follow, their checksum


class SharedValue:
    """Written as a whole, with a checksum: one that is being written is read the next time."""

    def __init__(self, name: str) -> None:
        self._file = os.memfd_create(name)
        self._generation = 0

    def write(self, content: bytes) -> None:
        """By one process at a time."""
        self._generation += 1
        os.pwrite(self._file, _HEAD.pack(self._generation, len(content), zlib.crc32(content)) + content, 0)

    def clear(self) -> None:
        """There is none any more; for who writes it next."""
        os.ftruncate(self._file, 0)

    def read(self, generation: int = 0) -> tuple[int, bytes] | None:
        """One of another generation, if there is one and all of it is here."""
        head = os.pread(self._file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return None
        newest, size, checksum = _HEAD.unpack(head)
        if newest == generation:
            return None
        content = os.pread(self._file, size, _HEAD.size)
        return (newest, content) if zlib.crc32(content) == checksum else None
