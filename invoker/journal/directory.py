"""The directory of all journals: its bound, and who holds which producer's directory in it."""

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

from invoker.journal.segment import MIN_SEGMENT_BYTES, Segment
from shared.files import lock_within

LOCK_FILE = "lock"
REMOVED_PREFIX = ".old-"
LOCK_WAIT_S = 2.0
MAX_SEGMENT_BYTES = 4 * 1024 * 1024


class Bound:
    """The space that all journals of one directory may take together, and how it is cut into segments."""

    def __init__(self, root: Path, max_bytes: int, workers: int) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.segment_bytes = max(min(max_bytes // (4 * workers), MAX_SEGMENT_BYTES), MIN_SEGMENT_BYTES)

    def allocate(self, path: Path) -> Segment:
        """A new segment within the bound; `OSError` with EDQUOT beyond it, ENOSPC on a full disk, ETIMEDOUT
        if another process holds the lock."""
        descriptor = os.open(self.root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            lock_within(descriptor, LOCK_WAIT_S)  # two workers must not both take the last free segment
            if self.used_bytes() + self.segment_bytes > self.max_bytes:
                raise OSError(errno.EDQUOT, "the journal's bound is reached")
            return Segment.allocate(path, self.segment_bytes)
        finally:
            os.close(descriptor)

    def used_bytes(self) -> int:
        """Bytes that the segments of all producers take on disk."""
        total = 0
        for directory in self.root.iterdir():
            # Removed meanwhile; or no journal, such as the `lost+found` of a file system, which only root may read.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                total += sum(path.stat().st_size for path in directory.iterdir())
        return total


def lock_directory(directory: Path) -> int | None:
    """Hold a producer's directory: the lock's descriptor, or None if its owner lives, or if it is gone or none.
    `OSError` if it isn't for us."""
    path = directory / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def remove_hidden(directory: Path) -> None:
    """Remove a directory that was renamed to be no journal any more. Several workers may do so at once, and
    what one of them leaves, the next one finds."""
    shutil.rmtree(directory, ignore_errors=True)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
