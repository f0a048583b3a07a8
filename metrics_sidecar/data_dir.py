"""The directory that a history is in, and who may write to it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from shared.settings import StartupError


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory: a second sidecar on it would count everything twice."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "sidecar.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StartupError(f"SIDECAR_DATA_DIR: {str(data_dir)!r} can't be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartupError(f"SIDECAR_DATA_DIR: another sidecar uses {str(data_dir)!r}") from None
    try:
        yield
    finally:
        os.close(descriptor)
