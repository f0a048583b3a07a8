"""The directory that a history is in, and who may write to it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from metrics_sidecar.settings import HISTORY_FILE
from shared.files import UMASK, take_from_others
from shared.settings import StartupError

LOCK_FILE = "sidecar.lock"
OWN_FILES = (LOCK_FILE, *(f"{HISTORY_FILE}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")))
"""Of a data directory: SQLite's are the history, its log, the log's index, and what a log in another mode is."""


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory: a second sidecar on it would count everything twice. What is made meanwhile is for us
    and our group only; likewise what an earlier release has made."""
    umask = os.umask(UMASK)
    try:
        with _held(data_dir):
            for name in OWN_FILES:
                take_from_others(data_dir / name)
            yield
    finally:
        os.umask(umask)


@contextlib.contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
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
