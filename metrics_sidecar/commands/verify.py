"""`metrics-sidecar verify`: checks the history of a data directory, whether a sidecar runs on it or not.

Writes nothing. Exit code 0 if the file is sound and the books agree, 1 if not, 2 if it can't be read.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metrics_sidecar.commands.progress import Advance, shown
from metrics_sidecar.history.reconcile import Difference, Missing, Reconciliation, reconcile
from metrics_sidecar.settings import HISTORY_FILE, VerifySettings
from metrics_sidecar.sqlite.books import SqliteBooks, damage
from metrics_sidecar.sqlite.inspection import check_file, has_log, opened_to_read
from metrics_sidecar.sqlite.migrations import MIGRATIONS
from metrics_sidecar.sqlite.schema import check_bounds, check_version
from metrics_sidecar.sqlite.state import DAMAGE
from metrics_sidecar.sqlite.upkeep import count_rows
from shared.settings import StartupError

MAX_DAMAGE = 20
ATTEMPTS = 3


class Findings(NamedTuple):
    """What SQLite says of the file, and what the books say; None where damage keeps them from being read."""

    damage: list[str]
    books: Reconciliation | None


def verify(settings: VerifySettings) -> int:
    """Check and print; the exit code. `StartupError` if there is nothing that can be read."""
    path = settings.data_dir / HISTORY_FILE
    with shown("verify") as advance:
        findings = examine(path, advance)
    print("\n".join(describe(path, findings)))
    return 0 if findings.books is not None and findings.books.consistent and not findings.damage else 1


def examine(path: Path, advance: Advance = lambda done, told: None) -> Findings:
    """Check a history file, as it is at one moment."""
    for _ in range(ATTEMPTS):
        before = _stamp(path)
        try:
            findings = _examine(path, advance)
        except StartupError:
            if _stamp(path) == before:
                raise
            continue
        # With a log, SQLite gave us one state. Without one, a sidecar may have begun to write meanwhile.
        if has_log(path) or _stamp(path) == before:
            return findings
    raise StartupError(f"{path} changed again and again while it was read")


def describe(path: Path, findings: Findings) -> list[str]:
    """The findings as lines of text."""
    lines = [f"{path}: {'damaged' if findings.damage else 'sound'}", *(f"  {text}" for text in findings.damage)]
    books = findings.books
    if books is None:
        return [*lines, f"{path}: too damaged to compare the books"]
    checked = books.checked
    if books.consistent:
        lines.append(f"{path}: consistent")
    else:
        lines.append(f"{path}: NOT consistent, differences: {books.difference_count:,}")
        lines += [f"  {_difference(difference)}" for difference in books.differences]
    return [
        *lines,
        f"  rows       {checked.rows:,}, and {checked.rows_removed:,} removed by retention",
        f"  totals     {checked.totals:,} invocations of {checked.models:,} models",
        f"  sequences  {checked.sequences:,} accepted; {checked.producers:,} producers are not retired",
        *([f"  imported   {checked.imported:,} rows of other histories"] if checked.imported else []),
        *([f"  unread     {checked.unread:,} records, see info"] if checked.unread else []),
        *_missing(books.missing),
    ]


def _examine(path: Path, advance: Advance) -> Findings:
    check_file(path, writable=False)
    with opened_to_read(path) as connection:
        version = check_version(connection, str(path))
        if version < len(MIGRATIONS):
            raise StartupError(
                f"{path} has schema version {version}; start a sidecar on it once to bring it up to date"
            )
        check_bounds(connection, str(path), version)
        advance(None, "pages and indexes")  # one statement, which doesn't say how far it is
        messages = [*damage(connection, MAX_DAMAGE)]
        try:
            return Findings(messages, reconcile(SqliteBooks(connection, _told(connection, advance)), None))
        except DAMAGE:
            if not messages:
                raise
            return Findings(messages, None)


def _told(connection: sqlite3.Connection, advance: Advance) -> Callable[[int], None]:
    """To be told of rows that are counted, of how many."""
    total, _ = count_rows(connection)
    counted = 0

    def tell(count: int) -> None:
        nonlocal counted
        counted += count
        # A history that isn't sound may have more rows than it should.
        advance(min(counted / total, 1.0) if total > 0 else None, f"{counted:,} of {total:,} rows")

    return tell


def _stamp(path: Path) -> tuple[bool, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise StartupError(f"{path} can't be read: {error.strerror}") from None
    return has_log(path), status.st_mtime_ns, status.st_size


def _difference(difference: Difference) -> str:
    whose = (
        f" [{difference.model_id or difference.producer_id}]" if difference.model_id or difference.producer_id else ""
    )
    return f"{difference.what}{whose}: expected {difference.expected}, found {difference.found}"


def _missing(missing: Missing) -> list[str]:
    if not missing.count:
        return ["  missing    none"]
    shown = [f"    producer {gap.producer_id}: {gap.first_sequence:,} to {gap.last_sequence:,}" for gap in missing.gaps]
    more = missing.gap_count - len(shown)
    return [
        f"  missing    {missing.count:,} records in {missing.gap_count:,} gaps, lost before they came here:",
        *shown,
        *([f"    and {more:,} more gaps"] if more else []),
    ]
