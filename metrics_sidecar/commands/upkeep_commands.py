"""`metrics-sidecar info` and `metrics-sidecar compact`."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from metrics_sidecar.commands.progress import watched
from metrics_sidecar.data_dir import locked
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.inspection import check_file, inspect, opened_to_read
from metrics_sidecar.sqlite.migrations import MIGRATIONS
from metrics_sidecar.sqlite.schema import check_version
from metrics_sidecar.sqlite.upkeep import Summary, compact, size_of, summarize, used_bytes
from shared.clock import format_timestamp
from shared.settings import StartupError

WRITTEN_TIMES = 3
"""What is left of a history is written to a file of its own, then to the log, and from there to the file."""


def info(data_dir: Path, *, as_json: bool) -> int:
    """Print what is there, whether a sidecar runs on it or not. Writes nothing."""
    path = data_dir / HISTORY_FILE
    check_file(path, writable=False)
    with opened_to_read(path) as connection:
        check_current(connection, path)
        found = summarize(path, connection)
    print(msgspec.json.encode(found).decode() if as_json else "\n".join(_describe(found)))
    return 0


def compact_history(data_dir: Path) -> int:
    """Give space that is free in the file back to the disk; print the sizes."""
    path = data_dir / HISTORY_FILE
    check_file(path, writable=True)
    with locked(data_dir):
        inspect(path)
        before = size_of(path)
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                check_current(connection, path)
                with watched("compact", _look_at_writing(WRITTEN_TIMES * used_bytes(connection))):
                    compact(connection)
        except sqlite3.Error as error:
            raise StartupError(f"{path} can't be compacted, and is as it was: {error}") from None
    print(f"{path}: {before:,} bytes before, {size_of(path):,} after")
    return 0


def check_current(connection: sqlite3.Connection, path: Path) -> None:
    """`StartupError` for a history of another program or version."""
    if check_version(connection, str(path)) < len(MIGRATIONS):
        raise StartupError(f"{path} has an older schema; start a sidecar on it once to bring it up to date")


def _describe(found: Summary) -> list[str]:
    times = "none"
    if found.oldest_us is not None and found.newest_us is not None:
        times = f"{format_timestamp(found.oldest_us)} to {format_timestamp(found.newest_us)}"
    return [
        f"{found.path}",
        f"  store      {found.store_id or 'no id yet'}, schema version {found.schema_version}",
        f"  bytes      {found.bytes:,}, of which {found.free_bytes:,} are free",
        f"  rows       {found.rows:,}, and {found.removed:,} removed by retention",
        f"  times      {times}",
        f"  models     {found.models:,}",
        f"  producers  {found.producers:,} not retired; {found.missing:,} records missing; {found.commits:,} commits",
        f"  unread     {_unread(found)}",
        f"  imported   {'from ' + ', '.join(found.imported_from) if found.imported_from else 'nothing'}",
    ]


def _unread(found: Summary) -> str:
    kept, size, dropped = found.unread
    if not (kept or dropped):
        return "nothing: this release has read all records"
    return f"{kept:,} records of {size:,} bytes, kept for a release that can read them; {dropped:,} dropped"


def _look_at_writing(expected: int) -> Callable[[], tuple[float | None, str]]:
    """How much of what this process will write it has written by now, where the system tells."""
    before = _written_bytes()

    def look() -> tuple[float | None, str]:
        now = _written_bytes()
        if before is None or now is None:
            return None, ""
        return min((now - before) / expected, 1.0), f"{now - before:,} of about {expected:,} bytes written"

    return look


def _written_bytes() -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/io").read_text().splitlines():
            name, _, value = line.partition(": ")
            if name == "wchar":
                return int(value)
    return None
