"""How much of the disk the history takes, and how much there is."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple


class DiskUse(NamedTuple):
    """Bytes: of `history.db` and its log; and of the file system that they are on, free for us and in all."""

    history_bytes: int
    free_bytes: int
    size_bytes: int


def measure_disk(path: Path) -> DiskUse | None:
    """None if the file system doesn't say."""
    try:
        system = os.statvfs(path.parent)
        history_bytes = path.stat().st_size
    except OSError:
        return None
    with contextlib.suppress(OSError):  # there may be no log at the moment
        history_bytes += path.with_name(f"{path.name}-wal").stat().st_size
    return DiskUse(history_bytes, system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize)
