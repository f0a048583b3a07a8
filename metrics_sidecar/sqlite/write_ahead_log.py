"""How long SQLite's log is: asked after each transaction, and answered without a transaction or a lock.

https://www.sqlite.org/fileformat2.html#the_write_ahead_log: the file begins with a header that holds a salt, frames of
one page follow, and each begins with the salt under which it was written. When the log starts anew, it is written
from its beginning, under another salt; the file keeps its size.
"""

import os
from pathlib import Path

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
HEADER_SALT, FRAME_SALT = slice(16, 24), slice(8, 16)


class WriteAheadLog:
    """The log of a database that is open in WAL mode for as long as this is: SQLite doesn't replace the file then.
    `OSError` if there is none, or if it can't be read."""

    def __init__(self, path: Path, page_bytes: int) -> None:
        """`path` is the database's."""
        self._frame_bytes = FRAME_HEADER_BYTES + page_bytes
        # SQLite's locks are on other files: of those, closing a descriptor would end all that this process has.
        self._descriptor = os.open(path.with_name(f"{path.name}-wal"), os.O_RDONLY | os.O_CLOEXEC)

    def is_longer_than(self, pages: int) -> bool:
        salt = os.pread(self._descriptor, HEADER_BYTES, 0)[HEADER_SALT]
        frame = os.pread(self._descriptor, FRAME_HEADER_BYTES, HEADER_BYTES + pages * self._frame_bytes)
        return len(frame) == FRAME_HEADER_BYTES and frame[FRAME_SALT] == salt

    def close(self) -> None:
        os.close(self._descriptor)
