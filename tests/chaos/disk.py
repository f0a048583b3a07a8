"""A small disk that can be filled: a tmpfs, for which one has to be root."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

FILLER = "filler"
PIECE_BYTES = 4096


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[bool]:
    """Mount a tmpfs while the context lasts; False, and a plain directory, where that isn't allowed."""
    path.mkdir(parents=True)
    options = f"size={megabytes}m,mode=0755"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Leave not a byte free."""
    descriptor = os.open(path / FILLER, os.O_WRONLY | os.O_CREAT, 0o640)
    try:
        for size in (1024 * 1024, PIECE_BYTES):
            while allocate(descriptor, size):
                pass
    finally:
        os.close(descriptor)


def allocate(descriptor: int, size: int) -> bool:
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def free(path: Path) -> None:
    (path / FILLER).unlink(missing_ok=True)
