"""A store that can't be opened, and a check that is given up, leave no file open."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from metrics_sidecar.history.audit import Auditor
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.settings import StartupError

MAX_FILES = 40


def open_files(directory: Path) -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(descriptor.readlink())
    return [path.name for path in found if path.is_relative_to(directory)]


@contextmanager
def files_left(count: int) -> Iterator[None]:
    """So many more can be opened meanwhile."""
    used = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    free = [number for number in range(len(used) + MAX_FILES + 1) if number not in used]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[count], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_store_that_can_not_be_opened(tmp_path: Path) -> None:
    """At whichever of its files the machine runs out of them."""
    path = tmp_path / "history.db"
    SqliteWriter(path).close()
    failures = []  # kept: what they refer to isn't collected
    for count in range(MAX_FILES):
        try:
            with files_left(count):
                store = SqliteWriter(path)
        except StartupError as error:
            failures.append(error)
            assert open_files(tmp_path) == [], count
        else:
            store.close()
            break
    assert 3 < len(failures) < MAX_FILES
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("turns", range(4))
async def test_a_check_that_is_given_up(tmp_path: Path, turns: int) -> None:
    """However far it has come when the sidecar stops."""
    path = tmp_path / "history.db"
    ledger = Ledger(SqliteWriter(path), SystemClock(), 3, lambda _: None, lambda _: None)
    ledger.start()
    snapshots = []

    def opened() -> SqliteAudit:
        snapshots.append(SqliteAudit(path))
        return snapshots[-1]

    auditor = Auditor(opened, Live(ledger.state, 3))
    check = asyncio.create_task(auditor.reconcile())
    for _ in range(turns):
        await asyncio.sleep(0)
    auditor.close()
    check.cancel()
    await asyncio.wait([check])
    await ledger.close()
    assert open_files(tmp_path) == []
