"""A look at a history file before it is used: without writing anything, not even beside it.

What is found here is what can be found quickly: the header, the version, and all that is read at start.
Damage elsewhere is for `metrics-sidecar verify` to find, which reads everything.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from metrics_sidecar.sqlite.migrations import MIGRATIONS
from metrics_sidecar.sqlite.schema import check_bounds, check_version
from metrics_sidecar.sqlite.state import DAMAGE, read_state
from shared.settings import StartupError

MAGIC = b"SQLite format 3\x00"
HEADER_BYTES = 100
LEFT = "it is left as it is"
STATE_TABLES = ("meta", "models", "totals", "error_totals", "producers", "books", "gaps", "gateway_counters")


def inspect(path: Path) -> None:
    """`StartupError` if there is something at this path that can't be used as history."""
    if not _exists(path):
        if has_log(path):
            raise StartupError(
                f"{path} is missing or empty, but {_log(path).name} is there and may hold its last records: "
                "put the one back or move the other away"
            )
        return
    check_file(path, writable=True)
    with opened_to_read(path) as connection:
        if version := check_version(connection, str(path)):
            check_bounds(connection, str(path), version)
            if version == len(MIGRATIONS):
                read_state(connection)
            else:
                _read_as_it_stands(connection)
            connection.execute("SELECT MAX(id) FROM invocations").fetchone()


def _read_as_it_stands(connection: sqlite3.Connection) -> None:
    """All that an older version's state is in, so that damage is found before anything of it is changed."""
    for table in STATE_TABLES:
        for _ in connection.execute(f"SELECT * FROM {table}"):
            pass


@contextlib.contextmanager
def opened_to_read(path: Path, *, snapshot: bool = True) -> Iterator[sqlite3.Connection]:
    """A connection that never writes, in one transaction, or in none: then each statement reads what is newest, and
    keeps nothing back. Damage found meanwhile is a `StartupError`.
    A file that nobody has open is read as it stands: SQLite would else make a log."""
    mode = "mode=ro" if is_open(path) else "mode=ro&immutable=1"
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
        ) as connection:
            if snapshot:
                connection.execute("BEGIN")
            yield connection
    except DAMAGE as error:
        raise StartupError(f"{path} can't be read as history: {error}; {LEFT}") from None


def _exists(path: Path) -> bool:
    """Whether anything is there but an empty file, which SQLite takes for a new one."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return path.is_symlink()
    except OSError as error:
        raise StartupError(f"{path} can't be used as history: {error.strerror}") from None
    return not stat.S_ISREG(status.st_mode) or status.st_size > 0


def check_file(path: Path, *, writable: bool) -> None:
    """`StartupError` unless this is a SQLite file that may be read, and written if it must be."""
    if not path.is_file():
        raise StartupError(f"{path} can't be used as history: it is no file; {LEFT}")
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError as error:
        raise StartupError(
            f"{path} can't be opened for {'writing' if writable else 'reading'}: {error.strerror}"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        header = file.read(HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
    if not header.startswith(MAGIC):
        raise StartupError(f"{path} is no SQLite database; {LEFT}")
    # While there is a log, the header may be ahead of the file: a checkpoint writes the first page first.
    if not has_log(path) and size < (expected := _size_in(header)):
        raise StartupError(f"{path} is cut off: it has {size:,} bytes and should have {expected:,}; {LEFT}")


def _size_in(header: bytes) -> int:
    """The file's size by its header (https://www.sqlite.org/fileformat.html)."""
    if len(header) < HEADER_BYTES:
        return HEADER_BYTES
    page_bytes = int.from_bytes(header[16:18], "big")
    return (65536 if page_bytes == 1 else page_bytes) * int.from_bytes(header[28:32], "big")


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Whether there are transactions beside the file that are not in it yet, perhaps."""
    with contextlib.suppress(FileNotFoundError):
        return _log(path).stat().st_size > 0
    return False


def is_open(path: Path) -> bool:
    """Whether a process has the file open, or was killed when it had: its log and the index of it are there."""
    return has_log(path) or path.with_name(f"{path.name}-shm").exists()
