"""`INVOKER_DURABILITY=power`: replies wait for the disk, together, and not for ever."""

import asyncio
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from invoker.durability import GroupSync
from invoker.journal import Journal
from invoker.journal_directory import Bound
from shared.clock import SystemClock
from shared.record import Record
from tests.processes import system


def make_journal(directory: Path) -> Journal:
    return Journal.create(Bound(directory / "journal", 16 * 1024 * 1024, 1), SystemClock(), synced=True)


async def test_calls_that_wait_together_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes during a sync waits for the next one, which is one for all of them."""
    syncs: list[int] = []
    real = os.fdatasync

    def count(descriptor: int) -> None:
        syncs.append(descriptor)
        real(descriptor)

    journal = make_journal(tmp_path)
    monkeypatch.setattr(os, "fdatasync", count)
    sync = GroupSync(journal)

    async def call(number: int) -> None:
        journal.append(Record("m", number, 1))
        await sync.wait()

    await asyncio.gather(*(call(number) for number in range(100)))
    assert 1 <= len(syncs) <= 2
    assert sync.failure is None
    journal.remove()


async def test_a_defect_of_a_sync_holds_up_no_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, such as for want of a thread: the calls that wait are answered, and later ones are synced."""
    journal = make_journal(tmp_path)
    sync = GroupSync(journal)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "to_thread", Mock(side_effect=RuntimeError("can't start new thread")))
        async with asyncio.timeout(20):
            await sync.wait()
    failures = [sync.failure]
    await sync.wait()
    assert [*failures, sync.failure] == ['RuntimeError("can\'t start new thread")', None]
    journal.remove()


async def test_a_sync_that_fails_is_told_and_holds_up_no_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go on when the disk fails; what failed is kept for `/readyz` until it works again."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    journal = make_journal(tmp_path)
    sync = GroupSync(journal)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        await sync.wait()
        failures = [sync.failure]
    await sync.wait()
    assert [*failures, sync.failure] == ["Input/output error", None]
    journal.remove()


def test_both_sides_durable_against_a_loss_of_power(tmp_path: Path) -> None:
    """With `power` on both sides calls are answered and recorded as ever."""
    with system(tmp_path) as running:
        running.start_mock()
        running.start_sidecar(SIDECAR_DURABILITY="power")
        running.start_gateway(INVOKER_DURABILITY="power")
        assert [running.invoke()[0] for _ in range(5)] == [200] * 5
        assert running.settled("gpt-3.5", 5)["successful_invocations"] == 5
