"""What a worker does in the background goes on, whatever happens to it once."""

import asyncio
import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from invoker.delivery import recovery
from invoker.delivery.assignment import adopting, shipping
from invoker.delivery.outbox import Outbox
from invoker.journal.directory import Bound, lock_directory
from invoker.journal.journal import Journal
from invoker.journal.segment import Segment
from shared.clock import SystemClock
from shared.record import Record
from shared.tasks import Background
from shared.wire import Report


@pytest.mark.parametrize("fault", ["no_files_to_look", "no_files_to_read", "no_thread"])
async def test_adoption_goes_on_after_a_moment_without_resources(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told and started again; and the journal that could not be read then is adopted all the same."""
    clock = SystemClock()
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    dead = Journal.create(bound, clock)
    dead.append(Record("m", 1, 1))
    dead.close()
    background = Background(clock)

    def fail(*_arguments: object) -> NoReturn:
        raise RuntimeError("can't start new thread") if fault == "no_thread" else OSError(errno.EMFILE, "no files")

    with monkeypatch.context() as patched:
        if fault == "no_files_to_look":
            patched.setattr(recovery, "lock_directory", fail)
        elif fault == "no_files_to_read":
            patched.setattr(Segment, "open", fail)
        else:
            patched.setattr(asyncio, "to_thread", fail)
        async with adopting(bound, tmp_path / "no.sock", clock, background):
            while not background.reasons:
                await asyncio.sleep(0.01)
            assert [*background.reasons] == ["adoption"]
            patched.undo()
            while is_free(dead.directory):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("count", [0, 1])
async def test_a_journal_that_could_not_be_shipped_is_left(count: int, tmp_path: Path) -> None:
    """For whoever adopts it; without anything in it, nothing is left."""
    clock = SystemClock()
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    journal = Journal.create(bound, clock)
    for number in range(count):
        journal.append(Record("m", number, 1))
    outbox = Outbox(journal, tmp_path / "no.sock", clock, lambda _everything: Report(), [])
    async with shipping(outbox, journal, Background(clock)):
        pass
    assert len([path for path in bound.root.iterdir() if path.is_dir()]) == count
    recovered = await recovery.recover_one(bound, clock, set())
    assert (recovered.records_waiting if recovered is not None else 0) == count
    if recovered is not None:
        recovered.close()


def is_free(directory: Path) -> bool:
    """Whether nobody has adopted it."""
    lock = lock_directory(directory)
    if lock is not None:
        os.close(lock)
    return lock is not None
