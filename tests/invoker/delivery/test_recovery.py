"""The journals of the dead: read beside calls that don't notice, and shipped once."""

import asyncio
import time
from pathlib import Path
from unittest.mock import AsyncMock

import msgspec
import pytest
from structlog.testing import capture_logs

from invoker.delivery import recovery
from invoker.delivery.recovery import PAUSE_S, RecoveredJournal, adopt_dead, recover_one
from invoker.journal.begun import Begun
from invoker.journal.directory import Bound
from invoker.journal.journal import Journal
from invoker.journal.segment import BEGIN, MIN_SEGMENT_BYTES, RECORD, Segment, segment_name
from shared.clock import SystemClock
from shared.record import ErrorType, Record
from tests.invoker.conftest import until
from tests.invoker.turns import HELD_UP_S, longest_turn_s
from tests.released import FRAMES, RECORD_COUNT, write_journal

CLOCK = SystemClock()


def dead(bound: Bound, count: int = 1) -> Path:
    """The journal of a worker that has died."""
    journal = Journal.create(bound, CLOCK)
    for number in range(1, count + 1):
        journal.append(Record(f"m{number}", number, 10))
    journal.close()
    return journal.directory


async def adopted(bound: Bound, pause_s: float = 0.0) -> RecoveredJournal:
    recovered = await recover_one(bound, CLOCK, set(), pause_s)
    assert recovered is not None
    recovered.note_synced(2**62)
    return recovered


def records(journal: Journal, start: int = 1) -> list[Record]:
    return [msgspec.msgpack.decode(each, type=Record) for each in journal.read(start, 100_000, 2**30)[1]]


async def test_what_is_recovered_is_read_once_it_is_on_the_disk(tmp_path: Path) -> None:
    """It may be in memory alone; were it shipped, and lost with the power, its open calls would be counted again."""
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    dead(bound, 3)
    recovered = await recover_one(bound, CLOCK, set())
    assert recovered is not None
    assert records(recovered) == []
    recovered.note_synced(recovered.take_unsynced().upto)
    assert len(records(recovered)) == 3
    recovered.remove()


async def test_calls_notice_nothing_of_a_large_journal(tmp_path: Path) -> None:
    """Reading it holds neither loop nor interpreter, and accounting for thousands of calls doesn't either."""
    bound = Bound(tmp_path / "journal", 1024 * 1024 * 1024, 1)
    journal = Journal.create(bound, CLOCK)
    died = [journal.begin(Begun("m", number, 1)) for number in range(10_000)]
    for number in range(100_000):
        journal.append(Record("m", number, 10), journal.begin(Begun("m", number, 1)))
    journal.close()
    recovered: RecoveredJournal | None = None

    async def adopt() -> None:
        nonlocal recovered
        recovered = await adopted(bound)
        await recovered.settle(60_000)

    other_threads_s = time.process_time() - time.thread_time()
    began_s = time.thread_time()
    assert await longest_turn_s(adopt()) < HELD_UP_S
    other_threads_s = time.process_time() - time.thread_time() - other_threads_s
    assert other_threads_s < (time.thread_time() - began_s) / 3
    assert recovered is not None
    assert recovered.next_sequence == 100_000 + len(died) + 1
    recovered.remove()


async def test_an_adopted_journal_keeps_no_file_that_holds_nothing(tmp_path: Path) -> None:
    """What its owner had at hand to go on in counts against the bound of all."""
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    directory = dead(bound)
    (directory / "0123456789abcdef.spare").write_bytes(bytes(1000))
    recovered = await adopted(bound)
    assert bound.used_bytes() == recovered.bytes_used == bound.segment_bytes
    recovered.remove()


@pytest.mark.parametrize(("once", "pause_s"), [(True, 0.0), (False, PAUSE_S)])
async def test_a_worker_reads_journals_slower_than_who_does_nothing_else(
    once: bool, pause_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has calls to answer beside it."""
    seen: list[float] = []

    async def find(_bound: Bound, _clock: object, _unreadable: set[str], pause_s: float) -> None:
        seen.append(pause_s)
        raise asyncio.CancelledError

    monkeypatch.setattr(recovery, "recover_one", find)
    with pytest.raises(asyncio.CancelledError):
        await adopt_dead(Bound(tmp_path, 1, 1), CLOCK, AsyncMock(), once=once)
    assert seen == [pause_s]


async def test_between_slices_calls_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough for them to be answered."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(recovery, "SLICE_ENTRIES", 10)
    monkeypatch.setattr(asyncio, "sleep", note)
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    dead(bound, 100)
    recovered = await adopted(bound, 0.003)
    assert pauses == [0.003] * 10
    recovered.close()


@pytest.mark.parametrize("fails", [True, False])
async def test_a_journal_that_cannot_be_shipped_is_left_to_the_next_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """It isn't tried again and again, and stops no other."""
    monkeypatch.setattr(recovery, "SCAN_INTERVAL_S", 0.0)
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    names = {dead(bound).name for _ in range(3)}
    bad = max(names) if fails else ""
    tried: list[str] = []
    scans = 0
    find_dead = recovery.find_dead

    def count(bound: Bound, unreadable: set[str]) -> tuple[Path, int] | None:
        nonlocal scans
        scans += 1
        return find_dead(bound, unreadable)

    async def ship(journal: RecoveredJournal) -> None:
        tried.append(journal.producer_id)
        if journal.producer_id == bad:
            raise RuntimeError("a defect")
        journal.discard()

    monkeypatch.setattr(recovery, "find_dead", count)
    task = asyncio.create_task(adopt_dead(bound, CLOCK, ship))
    await until(lambda: scans >= 10)
    task.cancel()
    await asyncio.wait([task])
    assert sorted(tried) == sorted(names)
    assert {path.name for path in bound.root.iterdir() if path.is_dir()} == ({bad} if fails else set())


async def test_what_is_no_journal_of_ours_stops_no_adoption(tmp_path: Path) -> None:
    """A file, a link to nowhere, a lock that can't be opened: each is left, and told of once if it may be one."""
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    left = dead(bound)
    names = [f"{number}".zfill(32) for number in range(3)]
    (bound.root / names[0]).write_bytes(b"")
    (bound.root / names[1]).symlink_to(tmp_path / "nowhere")
    (bound.root / names[2] / "lock").mkdir(parents=True)
    unreadable: set[str] = set()
    with capture_logs() as logs:
        for _ in range(2):
            recovered = await recover_one(bound, CLOCK, unreadable)
            assert recovered is not None
            assert recovered.directory == left
            recovered.close()
    assert [entry["event"] for entry in logs] == ["recovery.unreadable"]
    assert unreadable == {names[2]}


async def test_an_adoption_that_is_cut_off_leaves_the_journal_to_others(tmp_path: Path) -> None:
    """At whatever moment: it is locked no more, and all is there."""
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    dead(bound, 3000)
    for turns in range(0, 40, 3):
        task = asyncio.create_task(recover_one(bound, CLOCK, set()))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (found := task.result()) is not None:
            found.close()
    recovered = await adopted(bound)
    await recovered.settle(0)
    assert len(records(recovered)) == 3000 or recovered.next_sequence == 3001
    recovered.remove()


async def test_a_segment_that_goes_meanwhile_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in it was acknowledged to an adopter before, who has let go of the journal and is still removing files."""
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    bound.segment_bytes = MIN_SEGMENT_BYTES
    dead(bound, 3000)
    open_segment = Segment.open

    def late(path: Path) -> Segment | None:
        if path.name == segment_name(1):
            path.unlink()
        return open_segment(path)

    monkeypatch.setattr(Segment, "open", late)
    recovered = await adopted(bound)
    await recovered.settle(recovered.first_sequence - 1)
    assert recovered.first_sequence > 1
    assert (recovered.records_waiting, recovered.next_sequence) == (3001 - recovered.first_sequence, 3001)
    recovered.remove()


async def test_a_mark_that_cannot_be_read_costs_its_call_alone(tmp_path: Path) -> None:
    """One of a later version, perhaps."""
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    journal = Journal.create(bound, CLOCK)
    journal.begin(Begun("m1", 1, 1))
    journal._add(BEGIN, 2, 0, b"\xc1", 0)
    journal._last_call = 2
    journal.begin(Begun("m3", 3, 1))
    journal.append(Record("m", 4, 10))
    journal.close()
    recovered = await adopted(bound)
    await recovered.settle(0)
    assert [(each.model_id, each.error_type) for each in records(recovered)] == [
        ("m", None), ("m1", ErrorType.GATEWAY_DIED), ("m3", ErrorType.GATEWAY_DIED)
    ]  # fmt: skip
    recovered.remove()


async def test_how_long_a_dead_call_took_is_told_by_the_latest_entry(tmp_path: Path) -> None:
    """Not by one of a moment at which the clock was years ahead."""
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    journal = Journal.create(bound, CLOCK)
    journal.begin(Begun("died", 1000, 1))
    journal.append(Record("m", 10**15, 10))
    journal.append(Record("m", 2000, 10))
    journal.close()
    recovered = await adopted(bound)
    await recovered.settle(2)
    assert [each.latency_us for each in records(recovered, 3)] == [2010 - 1000]
    recovered.remove()


@pytest.mark.parametrize(
    ("passed_us", "expected_us"),
    [(86_400_000_000, 86_400_000_000), (86_400_000_001, 0), (60 * 86_400_000_000, 0), (-1, 0)],
)
async def test_a_clock_that_jumped_says_nothing_of_a_dead_call(
    tmp_path: Path, passed_us: int, expected_us: int
) -> None:
    """A latency of months would be in the sums for good."""
    bound = Bound(tmp_path / "journal", 1024 * 1024 * 1024, 1)
    journal = Journal.create(bound, CLOCK)
    at_us = 100 * 86_400_000_000
    journal.begin(Begun("died", at_us, 1))
    journal.append(Record("m", at_us + passed_us, 0))
    journal.close()
    recovered = await adopted(bound)
    await recovered.settle(0)
    recovered.note_synced(2**62)
    (died,) = (record for record in records(recovered) if record.model_id == "died")
    assert (died.error_type, died.latency_us) == (ErrorType.GATEWAY_DIED, expected_us)
    recovered.close()


async def test_the_end_of_a_segment_is_found_to_the_byte(tmp_path: Path) -> None:
    """An entry that fills its segment exactly is one, and the next one is in the next segment."""
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    bound.segment_bytes = MIN_SEGMENT_BYTES
    journal = Journal.create(bound, CLOCK)
    empty = len(msgspec.msgpack.encode(Record("m", 1, 1, None, "x" * 2000)))
    while (room := MIN_SEGMENT_BYTES - journal._segments[-1].position) > 2 * (empty + 25):
        journal.append(Record("m", 1, 1, None, "x" * 2000))
    for part in (room // 2, room - room // 2):
        journal.append(Record("m", 1, 1, None, "x" * (2000 + part - 25 - empty)))
    assert (journal._segments[-1].position, len(journal._segments)) == (MIN_SEGMENT_BYTES, 1)
    last = journal.next_sequence
    journal.append(Record("next", 1, 1))
    assert len(journal._segments) == 2
    journal.close()
    recovered = await adopted(bound)
    await recovered.settle(0)
    assert recovered.next_sequence == last + 1
    assert len(records(recovered)) == last - 1
    assert [each.model_id for each in records(recovered, last)] == ["next"]
    recovered.remove()


async def test_a_journal_of_the_last_release_is_shipped_as_it_is(tmp_path: Path) -> None:
    """Its records byte for byte; and the call that it had begun is accounted for behind them."""
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    write_journal(bound.root)
    recovered = await adopted(bound)
    await recovered.settle(0)
    recovered.note_synced(2**62)
    first, found = recovered.read(1, 100, 2**20)
    assert (first, len(found)) == (1, RECORD_COUNT + 1)
    assert FRAMES["batch"].endswith(b"".join(found[:-1]))
    died = msgspec.msgpack.decode(found[-1], type=Record)
    assert (died.error_type, died.model_id, died.timestamp_us) == ("gateway_died", "gpt-4", 1_700_000_000_000_100)
    recovered.remove()


async def test_records_of_a_later_release_are_shipped_as_they_are(tmp_path: Path) -> None:
    """Whoever adopts its journal need not read them: fields that are new stay, and so does what can't be understood."""
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    journal = Journal.create(bound, CLOCK)
    later = [msgspec.msgpack.encode(each) for each in (["m", 1, 2, "new_kind", *[0] * 20, {"k": 1}], "no record", [])]
    for payload in later:
        journal._add(RECORD, 0, journal.next_sequence, payload, 0)
        journal.next_sequence += 1
    journal.close()
    recovered = await adopted(bound)
    await recovered.settle(0)
    recovered.note_synced(2**62)
    assert recovered.read(1, 100, 2**20) == (1, later)
    recovered.remove()


@pytest.mark.parametrize("request_id", ["r-1", None])
async def test_a_call_that_died_is_found_by_its_request(tmp_path: Path, request_id: str | None) -> None:
    """Its id is in the mark of its begin; a gateway of before had none."""
    bound = Bound(tmp_path / "journal", 16 * 1024 * 1024, 1)
    journal = Journal.create(bound, CLOCK)
    journal.begin(Begun("m", 1, 2, None, request_id))
    journal.close()
    recovered = await adopted(bound)
    await recovered.settle(0)
    recovered.note_synced(2**62)
    assert [record.request_id for record in records(recovered)] == [request_id]
    recovered.remove()
