"""`INVOKER_DURABILITY=power`: replies wait for the disk, together, and not for ever."""

import asyncio
import itertools
import os
import threading
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from invoker.delivery.outbox import Outbox
from invoker.delivery.recovery import recover_one
from invoker.journal.begun import Begun
from invoker.journal.directory import Bound
from invoker.journal.durability import GroupSync
from invoker.journal.journal import Journal
from invoker.journal.segment import MIN_SEGMENT_BYTES
from shared.clock import SystemClock
from shared.record import Record
from shared.wire import Ack, Report
from tests.invoker.conftest import until
from tests.invoker.delivery.fake_sidecar import FakeSidecar
from tests.invoker.journal.power import Disk
from tests.processes import system

CLOCK = SystemClock()


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
        journal.append(Record("m", 1, 1))
        await sync.wait()
        failures = [sync.failure]
    assert len(journal.read(1, 10, 10_000)[1]) == 1  # it is shipped all the same
    await sync.wait()
    assert [*failures, sync.failure] == ["Input/output error", None]
    journal.remove()


async def test_who_comes_during_a_sync_waits_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one may have begun before its record was there."""
    begun, goes_on, done = threading.Event(), threading.Event(), list[int]()

    def slow(descriptor: int) -> None:
        begun.set()
        assert goes_on.wait(20)
        done.append(descriptor)

    journal = make_journal(tmp_path)
    sync = GroupSync(journal)
    monkeypatch.setattr(os, "fdatasync", slow)

    async def call(number: int) -> int:
        journal.append(Record("m", number, 1))
        await sync.wait()
        return len(done)

    first = asyncio.create_task(call(1))
    await until(begun.is_set)
    second = asyncio.create_task(call(2))
    await asyncio.sleep(0)
    goes_on.set()
    await first
    assert await second == 2
    journal.remove()


def test_only_what_is_synced_is_read(tmp_path: Path) -> None:
    """Up to the record that was the last when the sync began, wherever in a batch that is."""
    journal = make_journal(tmp_path)
    for number in range(5):
        journal.append(Record("m", number, 1))
    assert journal.read(1, 10, 10_000) == (1, [])
    journal.note_synced(3)
    assert [len(journal.read(sequence, 10, 10_000)[1]) for sequence in (1, 3, 4)] == [3, 1, 0]
    journal.remove()


def test_the_sync_is_told_when_files_come_and_go(tmp_path: Path) -> None:
    """Also when no call waits for it: a file's name is on the disk only by a sync of its directory."""
    journal = Journal.create(small_bound(tmp_path / "journal"), CLOCK, synced=True)
    journal.on_change = changed = Mock()
    while changed.call_count == 0:
        assert len(list(journal.directory.glob("*.segment"))) == 1
        journal.append(Record("m", 1, 1))
    assert len(list(journal.directory.glob("*.segment"))) == 2
    assert journal.take_unsynced().directory == journal.directory
    journal.trim(journal.next_sequence - 1)
    assert changed.call_count == 2
    assert len(journal.take_unsynced().removable) == 1
    journal.remove()


def test_no_file_of_a_synced_journal_is_used_again(tmp_path: Path) -> None:
    """Those that are acknowledged go in their order: a begin mark must not be left without its record."""
    journal = Journal.create(small_bound(tmp_path / "journal"), CLOCK, synced=True)
    for number in range(300):
        journal.append(Record("m", number, 1, None, "x" * 1000))
    files = sorted(journal.directory.glob("*.segment"))
    journal.trim(300)
    assert journal.take_unsynced().removable == files[:-1]
    assert sorted(journal.directory.glob("*.s*")) == files
    journal.remove()


class Loaded:
    """Calls on a synced journal of small segments."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.sync = GroupSync(journal)
        self.replied: set[str] = set()
        self.committed: dict[int, str] = {}

    async def call(self, number: int) -> None:
        """Each third one's caller leaves, so that nobody waits for its record."""
        model_id = f"m{number}"
        begun = self.journal.begin(Begun(model_id, number, 1))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        self.journal.append(Record(model_id, number, 1, None, "x" * 1500), begun)
        if number % 3:
            await self.sync.wait()
            self.replied.add(model_id)

    async def calls(self, count: int) -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*(self.call(number) for number in range(start, start + 20)))


async def check_after_loss(loaded: Loaded, root: Path) -> None:
    """An adopter of what is left counts no call that is committed, and finds each that was answered."""
    replied = set(loaded.replied)
    recovered = await recover_one(small_bound(root), CLOCK, set())
    assert recovered is not None
    committed = max(loaded.committed, default=0)
    await recovered.settle(committed)
    recovered.note_synced(2**62)
    found: list[str] = []
    sequence = committed + 1
    while records := recovered.read(sequence, 1000, 1_000_000)[1]:
        found += [msgspec.msgpack.decode(record, type=Record).model_id for record in records]
        sequence += len(records)
    recovered.close()
    assert [model_id for model_id in found if model_id in loaded.committed.values()] == []
    assert replied - {*found, *loaded.committed.values()} == set()


def small_bound(root: Path) -> Bound:
    bound = Bound(root, 64 * 1024 * 1024, 1)
    bound.segment_bytes = MIN_SEGMENT_BYTES
    return bound


@pytest.mark.parametrize("written_back", [False, True])
async def test_whenever_power_is_lost_each_call_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_back: bool
) -> None:
    """Nothing is shipped that the disk could lose, over many segments that come and go; nor does the loop ever sync."""
    disk = Disk(monkeypatch)
    root = tmp_path / "of" / "all" / "journal"
    loaded = Loaded(await asyncio.to_thread(Journal.create, small_bound(root), CLOCK, synced=True))
    async with FakeSidecar(tmp_path / "s").listening() as sidecar:
        outbox = Outbox(loaded.journal, sidecar.path, CLOCK, lambda _all: Report(), [], loaded.sync.wait)
        shipping = asyncio.create_task(outbox.run())
        calling = asyncio.create_task(loaded.calls(600))
        peer = await sidecar.welcome()
        for number in itertools.count():
            loaded.committed |= await peer.records(1, acknowledge=False)
            disk.left(tmp_path, tmp_path / f"after{number}", written_back=written_back)
            await check_after_loss(loaded, tmp_path / f"after{number}" / "of" / "all" / "journal")
            peer.send(Ack(max(loaded.committed)))
            if len(loaded.committed) == 600:
                break
        await calling
        outbox.finish()
        await peer.part()
        await until(lambda: outbox.finished)
        shipping.cancel()
        await asyncio.wait([shipping])
    assert not loaded.journal.directory.exists()
    assert threading.current_thread() not in disk.threads
    assert loaded.sync.failure is None


def test_both_sides_durable_against_a_loss_of_power(tmp_path: Path) -> None:
    """With `power` on both sides calls are answered and recorded as ever."""
    with system(tmp_path) as running:
        running.start_mock()
        running.start_sidecar(SIDECAR_DURABILITY="power")
        running.start_gateway(INVOKER_DURABILITY="power")
        assert [running.invoke()[0] for _ in range(5)] == [200] * 5
        assert running.settled("gpt-3.5", 5)["successful_invocations"] == 5
