"""The journal: sequences without gaps, bounded space, and what an adopter finds."""

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from invoker.delivery.recovery import DIED_LOG, RecoveredJournal, recover_one
from invoker.journal.begun import Begun
from invoker.journal.directory import LOCK_FILE, Bound, lock_directory
from invoker.journal.journal import NO_CALL, Journal
from invoker.journal.segment import BEGIN, ENTRY_BYTES, MIN_SEGMENT_BYTES, Entry, Segment
from invoker.journal.spares import MAX_SPARES, RETRY_FULL_US
from shared.clock import SystemClock
from shared.record import ErrorType, Record
from tests.invoker.conftest import until
from tests.invoker.fakes import FakeClock

MIB = 1024 * 1024
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLOCK = SystemClock()


def record(number: int, error_log: str = "") -> Record:
    return Record("m", number, 10, None if not error_log else ErrorType.TIMEOUT, error_log)


def make_bound(root: Path, max_bytes: int = 16 * MIB, workers: int = 1) -> Bound:
    return Bound(root / "journal", max_bytes, workers)


def small_bound(root: Path, segments: int = 8) -> Bound:
    """Segments of 64 KiB, so that many are used."""
    bound = make_bound(root, segments * MIN_SEGMENT_BYTES)
    bound.segment_bytes = MIN_SEGMENT_BYTES
    return bound


def read_all(journal: Journal, start: int = 1) -> list[tuple[int, Record]]:
    """(sequence, record) of all that waits, in batches as the outbox reads them."""
    found: list[tuple[int, Record]] = []
    while True:
        first, payloads = journal.read(start, 7, 10_000)
        if not payloads:
            return found
        found += [(first + i, msgspec.msgpack.decode(payload, type=Record)) for i, payload in enumerate(payloads)]
        start = first + len(payloads)


def die(journal: Journal) -> None:
    """What is left of a journal when its process is killed."""
    journal.close()


def adopt(bound: Bound) -> RecoveredJournal:
    recovered = asyncio.run(recover_one(bound, CLOCK, set()))
    assert recovered is not None
    recovered.note_synced(2**62)
    return recovered


def settle(recovered: RecoveredJournal, committed: int) -> None:
    asyncio.run(recovered.settle(committed))


def test_records_are_read_in_order_over_many_segments(tmp_path: Path) -> None:
    """Sequences count from 1 without gaps, whatever segment a record fell into."""
    journal = Journal.create(small_bound(tmp_path), CLOCK)
    records = [record(number, "x" * (number % 900)) for number in range(1, 500)]
    for each in records:
        journal.append(each)
    assert journal.bytes_used > 2 * MIN_SEGMENT_BYTES
    assert read_all(journal) == list(enumerate(records, 1))
    assert read_all(journal, 250) == list(enumerate(records, 1))[249:]
    journal.remove()


def test_half_a_segment_is_kept_for_open_calls(tmp_path: Path) -> None:
    """Each needs room for its mark, once more and to end it; beyond that a call goes without one."""
    journal = Journal.create(small_bound(tmp_path), CLOCK)
    begun = Begun("m", 1, 1)
    kept = len(msgspec.msgpack.encode(begun)) + 2 * ENTRY_BYTES
    calls = [journal.begin(begun) for _ in range(MIN_SEGMENT_BYTES // kept)]
    assert calls.index(NO_CALL) == MIN_SEGMENT_BYTES // 2 // kept
    journal.append(record(1), calls[0])
    assert journal.begin(begun) != NO_CALL
    journal.remove()


def test_trimmed_segments_are_used_again(tmp_path: Path) -> None:
    """A journal that is acknowledged in time stays at a few segments, for ever."""
    journal = Journal.create(small_bound(tmp_path), CLOCK)
    for number in range(1, 5000):
        journal.append(record(number, "x" * 500))
        journal.trim(number - 10)
    assert journal.bytes_used <= 4 * MIN_SEGMENT_BYTES
    assert [sequence for sequence, _ in read_all(journal, journal.first_sequence)] == list(range(4990, 5000))
    assert journal.dropped == {}
    journal.remove()


def test_segments_beyond_a_few_spares_leave_the_disk(tmp_path: Path) -> None:
    """After an outage a journal shrinks: what is acknowledged at once is removed, but for what is soon needed again."""
    bound = small_bound(tmp_path, segments=20)
    journal = Journal.create(bound, CLOCK)
    for number in range(1, 1000):
        journal.append(record(number, "x" * 500))
    assert bound.used_bytes() > 6 * MIN_SEGMENT_BYTES
    journal.trim(999)
    assert bound.used_bytes() == journal.bytes_used == (1 + MAX_SPARES) * MIN_SEGMENT_BYTES
    journal.remove()


def test_what_is_not_acknowledged_is_adopted_under_the_same_sequences(tmp_path: Path) -> None:
    """An adopter finds all that was appended, knows nothing of what was trimmed, and goes on counting."""
    bound = small_bound(tmp_path)
    journal = Journal.create(bound, CLOCK)
    for number in range(1, 400):
        journal.append(record(number, "x" * 500))
    journal.trim(350)
    die(journal)
    recovered = adopt(bound)
    assert recovered.producer_id == journal.producer_id
    settle(recovered, 370)
    assert [sequence for sequence, _ in read_all(recovered, 371)] == list(range(371, 400))
    assert recovered.next_sequence == 400
    recovered.remove()
    assert [path.name for path in bound.root.iterdir()] == [LOCK_FILE]


def test_a_call_that_never_ended_becomes_one_failure_record(tmp_path: Path) -> None:
    """An adopter that dies in its turn, too, leaves one record per dead call and none per ended one."""
    bound = make_bound(tmp_path)
    journal = Journal.create(bound, CLOCK)
    calls = [journal.begin(Begun("m", 1000 + number, 7, TRACE_ID)) for number in range(3)]
    journal.append(record(5000), calls[1])
    die(journal)
    first_adopter = adopt(bound)
    settle(first_adopter, 0)
    die(first_adopter)
    recovered = adopt(bound)
    settle(recovered, 1)
    died = [
        Record("m", 1000 + number, 5010 - 1000 - number, ErrorType.GATEWAY_DIED, DIED_LOG, 7, 0, TRACE_ID)
        for number in (0, 2)
    ]
    assert read_all(recovered, 2) == [(2, died[0]), (3, died[1])]
    recovered.remove()


def almost_full(bound: Bound) -> tuple[Journal, int]:
    """A journal whose only segment has room for no further record, because of its many open calls."""
    appended = 2**30
    for _ in range(2):  # the first one overflows, so the second one knows when to stop
        journal = Journal.create(bound, CLOCK)
        begun = 0
        while journal.begin(Begun("m" * 80, CLOCK.now_us(), begun)) != NO_CALL:
            begun += 1
        while journal.bytes_used == bound.segment_bytes and journal.records_waiting < appended:
            journal.append(record(journal.next_sequence))
        appended = journal.records_waiting - 1
        if journal.bytes_used > bound.segment_bytes:
            journal.remove()
    return journal, begun


def test_many_calls_that_died_fit_where_their_segment_is_almost_full(tmp_path: Path) -> None:
    """Their records take more room than was kept for them: they go on in another segment."""
    bound = small_bound(tmp_path)
    journal, begun = almost_full(bound)
    assert journal.bytes_used == bound.segment_bytes
    ended = journal.records_waiting
    die(journal)
    recovered = adopt(bound)
    settle(recovered, 0)
    found = [each for _, each in read_all(recovered)]
    assert [each.error_type for each in found] == [None] * ended + [ErrorType.GATEWAY_DIED] * begun
    assert [each.input_size for each in found[ended:]] == list(range(begun))
    assert recovered.dropped == {"journal_full": 0, "disk_full": 0}
    recovered.remove()


def test_marks_of_long_calls_outlive_the_segments_that_they_stood_in(tmp_path: Path) -> None:
    """A call that lasts while thousands of others come and go is still accounted for."""
    bound = small_bound(tmp_path)
    journal = Journal.create(bound, CLOCK)
    call = journal.begin(Begun("long", 1, 1))
    for number in range(1, 3000):
        journal.append(record(number, "x" * 500), journal.begin(Begun("m", number, 1)))
        journal.trim(number)
    die(journal)
    recovered = adopt(bound)
    settle(recovered, 2999)
    assert [each.model_id for _, each in read_all(recovered, 3000)] == ["long"]
    assert call != NO_CALL
    recovered.remove()


def test_marks_are_carried_before_their_segment_goes(tmp_path: Path) -> None:
    """A worker may die at any moment: each open call's mark is on the disk after each trim, and in order."""
    bound = small_bound(tmp_path)
    journal = Journal.create(bound, CLOCK)
    calls = {journal.begin(Begun(f"open{number}", 1, 1)) for number in range(3)}
    serials: set[int] = set()
    for number in range(1, 700):
        journal.append(record(number, "x" * 500))
        if number % 100 == 0:
            calls.add(journal.begin(Begun(f"open{number}", 1, 1)))
        journal.trim(number - 1)
        if (serial := journal._segments[0].serial) not in serials:
            serials.add(serial)
            assert {entry.call for each in journal._segments for entry in mapped_entries(each)} >= calls
    assert len(serials) > 4
    journal.remove()


def mapped_entries(segment: Segment) -> list[Entry]:
    """The begin marks in a segment's file, whether it is mapped or not."""
    found = Segment.open(segment.path)
    assert found is not None
    marks = [entry for entry in found.entries() if entry.kind == BEGIN]
    found.unmap()
    return marks


def test_no_record_is_read_from_a_segment_that_was_left_while_it_was_read(tmp_path: Path) -> None:
    """The reader begins anew, in the middle and in the active segment, which goes on being appended to."""
    journal = Journal.create(small_bound(tmp_path), CLOCK)
    for number in range(1, 301):
        journal.append(record(number, "x" * 500))
        for start in {1, number // 2 + 1, number}:
            first, found = journal.read(start, 1, 10_000)
            assert (first, [decoded(each).timestamp_us for each in found]) == (start, [start])
    journal.remove()


def decoded(payload: bytes) -> Record:
    return msgspec.msgpack.decode(payload, type=Record)


def test_beyond_its_bound_records_are_dropped_and_counted(tmp_path: Path) -> None:
    """What is kept has no gap, what is dropped is counted by reason, and space that comes back is used."""
    bound = small_bound(tmp_path, segments=3)
    journal = Journal.create(bound, CLOCK)
    calls = [journal.begin(Begun("m", number, 1)) for number in range(1000)]
    for number, call in enumerate(calls, 1):
        journal.append(record(number, "x" * 500), call)
    kept = journal.next_sequence - 1
    assert journal.dropped == {"journal_full": 1000 - kept}
    assert journal.full == "journal_full"
    assert journal.bytes_used <= 3 * MIN_SEGMENT_BYTES
    assert [sequence for sequence, _ in read_all(journal)] == list(range(1, kept + 1))
    journal.trim(kept)
    journal.append(record(1001))
    assert [journal.full, journal.next_sequence] == [None, kept + 2]
    die(journal)
    recovered = adopt(bound)
    settle(recovered, kept + 1)
    assert recovered.next_sequence == kept + 2  # no dropped record's call is taken for one that died
    assert recovered.dropped == {"journal_full": 1000 - kept, "disk_full": 0}
    recovered.remove()


def test_each_segment_tells_what_was_dropped_before_it(tmp_path: Path) -> None:
    """The count outlives the segment that was the last one when records were dropped."""
    bound = small_bound(tmp_path, segments=3)
    journal = Journal.create(bound, CLOCK)
    while journal.full is None:
        journal.append(record(1, "x" * 500))
    first = journal._segments[-1].serial
    while journal._segments[-1].serial <= first:
        journal.trim(journal.next_sequence - 1)
        journal.append(record(1, "x" * 500))
    dropped = journal.dropped["journal_full"]
    die(journal)
    recovered = adopt(bound)
    assert recovered.dropped == {"journal_full": dropped, "disk_full": 0}
    recovered.remove()


async def test_the_next_segment_is_there_before_it_is_needed(tmp_path: Path) -> None:
    """From the half of one on: to allocate it can take longer than a call may wait."""
    journal = Journal.create(small_bound(tmp_path), CLOCK)
    active = journal._segments[-1]
    while active.position * 2 <= active.size:
        assert not list(journal.directory.glob("*.spare"))
        journal.append(record(1, "x" * 500))
    await until(lambda: len(list(journal.directory.glob("*.spare"))) == 1)
    journal.remove()


async def test_a_full_journal_is_looked_through_for_space_beside_the_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never by a call itself, which it could hold up; and once there is space, it is used."""
    bound = small_bound(tmp_path, segments=3)
    clock = FakeClock()
    journal = Journal.create(bound, clock)
    while journal.full is None:
        journal.append(record(1, "x" * 500))
    threads: list[threading.Thread] = []
    allocate = bound.allocate

    def note(path: Path) -> Segment:
        threads.append(threading.current_thread())
        return allocate(path)

    def append() -> int:
        clock.elapsed_us += RETRY_FULL_US
        journal.append(record(1, "x" * 500))
        return journal.next_sequence

    monkeypatch.setattr(bound, "allocate", note)
    await until(lambda: append() and len(threads) >= 2)
    bound.max_bytes *= 2
    kept = journal.next_sequence
    await until(lambda: append() > kept)
    assert not journal.full
    assert threading.current_thread() not in threads
    journal.remove()


def test_all_producers_share_one_bound(tmp_path: Path) -> None:
    """Two journals together take no more than what is allowed."""
    bound = small_bound(tmp_path, segments=4)
    journals = [Journal.create(bound, CLOCK) for _ in range(2)]
    for number in range(1000):
        for journal in journals:
            journal.append(record(number, "x" * 500))
    assert bound.used_bytes() <= 4 * MIN_SEGMENT_BYTES
    for journal in journals:
        journal.remove()


def test_only_the_dead_are_adopted(tmp_path: Path) -> None:
    """A living producer's journal can't be taken, and one journal not by two."""
    bound = make_bound(tmp_path)
    living = Journal.create(bound, CLOCK)
    living.append(record(1))
    assert asyncio.run(recover_one(bound, CLOCK, set())) is None
    die(living)
    recovered = adopt(bound)
    assert asyncio.run(recover_one(bound, CLOCK, set())) is None
    assert lock_directory(living.directory) is None
    recovered.remove()
    assert asyncio.run(recover_one(bound, CLOCK, set())) is None


def test_after_a_loss_of_power_the_dead_are_counted_behind_what_is_committed(tmp_path: Path) -> None:
    """Where the sidecar has more than the journal, no sequence is given twice."""
    bound = make_bound(tmp_path)
    journal = Journal.create(bound, CLOCK)
    journal.begin(Begun("m", 1, 1))
    journal.append(record(1))
    die(journal)
    recovered = adopt(bound)
    settle(recovered, 50)
    assert [(sequence, each.error_type) for sequence, each in read_all(recovered, 51)] == [(51, ErrorType.GATEWAY_DIED)]
    recovered.remove()


@pytest.mark.parametrize("damage", ["first segment", "middle segment"])
def test_a_damaged_segment_costs_its_own_records_alone(tmp_path: Path, damage: str) -> None:
    """What follows a damaged segment is shipped under its own sequences, so that the hole is seen."""
    bound = small_bound(tmp_path)
    journal = Journal.create(bound, CLOCK)
    for number in range(1, 400):
        journal.append(record(number, "x" * 500))
    die(journal)
    segments = sorted(journal.directory.glob("*.segment"))
    with segments[0 if damage == "first segment" else 1].open("r+b") as file:
        file.seek(64)
        file.write(b"\xff" * 100)
    recovered = adopt(bound)
    settle(recovered, 0)
    sequences = [sequence for sequence, _ in read_all(recovered)]
    assert sequences == sorted(set(sequences))
    assert len(sequences) >= 399 - 120
    assert sequences[-1] == 399
    recovered.remove()
