"""How much of the disk the history takes, and how much there is."""

import contextlib
import os
from pathlib import Path

from metrics_sidecar.history.backend import DiskUse


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
