"""What one connection, and all together, may hold: each limit on its bound. A ledger that doesn't commit by itself."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics_sidecar.intake import connection as connection_module
from metrics_sidecar.intake.connection import (
    FRAME_BYTES,
    RECORD_BYTES,
    ProducerConnection,
)
from metrics_sidecar.intake.file_plan import RESERVED_FILES
from metrics_sidecar.intake.intake import Intake
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.framing import FrameReader
from shared.record import Record
from shared.wire import (
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Bye,
    Flush,
    Flushed,
    Hello,
    Refusal,
    Report,
    ToProducer,
    ToSidecar,
    Welcome,
    decode_to_producer,
    encode,
)

MAX_PRODUCERS = 3
COUNTER = "invoker_records_dropped_total"

# As they are promised.
MAX_PARTIAL_BYTES = 33_554_432
MAX_WAITING_BYTES = 25_165_824
TURN_BYTES = 131_072
MAX_UNREAD_REPLY_BYTES = 65_536
MAX_FRAME_SWEEPS = 10
REJECTION_LOG_SWEEPS = 10
SEEN_INTERVAL_SWEEPS = 3600


class Wire(asyncio.Transport):
    """The other end: what it was sent, whether it is read from, and how much of what it was sent it has not read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._is_read = True
        self.unread_bytes = 0
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def pause_reading(self) -> None:
        assert self._is_read
        self._is_read = False

    def resume_reading(self) -> None:
        assert not self._is_read
        self._is_read = True

    def is_reading(self) -> bool:
        return self._is_read

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Peer:
    """A producer on such a wire."""

    def __init__(self, bench: "Bench", number: int) -> None:
        self._bench = bench
        self._number = number
        self.wire = Wire()
        self.connection = ProducerConnection(bench.intake)
        self.connection.connection_made(self.wire)

    def send(self, *messages: ToSidecar) -> None:
        """Each in a read of its own."""
        for message in messages:
            self.send_bytes(encode(message))

    def send_bytes(self, data: bytes) -> None:
        """What is more than its buffer takes comes in further reads."""
        while data:
            buffer = self.connection.get_buffer(-1)
            size = min(len(data), len(buffer))
            buffer[:size] = data[:size]
            self.connection.buffer_updated(size)
            data = data[size:]

    def hello(self, *models: str) -> None:
        self.send(Hello(PROTOCOL_VERSION, f"{self._number:032x}", 1, [*models]))
        assert self.received() == [Welcome(PROTOCOL_VERSION, 0)]

    def received(self) -> list[ToProducer]:
        """Since it was last asked."""
        data, self.wire.written = self.wire.written, b""
        return [decode_to_producer(body) for body in FrameReader().feed(data)]


class Bench:
    """An intake whose ledger commits when it is told."""

    def __init__(self, directory: Path) -> None:
        self.rejected: list[str] = []
        self.ledger = Ledger(SqliteWriter(directory / "history.db"), SystemClock(), 9, lambda _: None, lambda _: None)
        self.live = Live(self.ledger.state, 9)
        self.intake = Intake(self.ledger, self.live, MAX_PRODUCERS, self.rejected.append)

    def peer(self, number: int = 0, *, hello: bool = True) -> Peer:
        peer = Peer(self, number)
        if hello:
            peer.hello()
        return peer

    def submitted(self) -> list[Work]:
        """Since it was last asked."""
        queue = self.ledger._queue
        found = [queue.get_nowait() for _ in range(queue.qsize())]
        return [work for work in found if work is not None]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.intake.close()
    await bench.ledger.close()


def batch(count: int = 1, model_id: str = "m", first_sequence: int = 1) -> Batch:
    return Batch(first_sequence, [Record(model_id, 1, 1000)] * count)


def settle(work: Work, committed: int = 0) -> None:
    assert work.done is not None
    work.done(committed)


async def test_what_is_asked_of_the_ledger_and_what_it_answers(bench: Bench) -> None:
    """Each message one work, answered when that is committed; what is sent after a bye is passed over."""
    peer = bench.peer(7)
    counters = {COUNTER: {"refused": 3}}
    peer.send(batch(2), Report({"m": 4}, {**counters, "made_up": {"x": 1}}, {}, ["n"]), Flush())
    peer.send(Report({"m": 5}, counters), Report({"m": 5}, {"made_up": {"x": 2}}), Bye(), batch(3), Report({"m": 6}))
    works = bench.submitted()
    producer = f"{7:032x}"
    assert [dataclasses.replace(work, done=None) for work in works] == [
        Work(producer, 1, batch(2).records),
        Work(producer, reported=counters),
        Work(producer),
        Work(producer, retire=True),
    ]
    assert bench.live.snapshot().active == {"m": 5}
    assert bench.live.snapshot().totals.keys() == {"m", "n"}
    assert peer.received() == []
    for work, expected in zip(works, (Ack(2), Ack(2), Flushed(), Ack(2)), strict=True):
        assert not peer.wire.ended
        settle(work, 2)
        assert peer.received() == [expected]
    assert peer.wire.ended == "closed"
    assert bench.intake._waiting_bytes == 0
    assert bench.intake.connections == set()
    assert bench.rejected == []


async def test_changed_counters_are_reported_again(bench: Bench) -> None:
    """And the same ones once."""
    peer = bench.peer()
    for value in (1, 1, 2):
        peer.send(Report(counters={COUNTER: {"refused": value}}))
    assert [work.reported for work in bench.submitted()] == [{COUNTER: {"refused": value}} for value in (1, 2)]


async def test_families_are_counted_and_shown_as_long_as_their_worker_is_there(bench: Bench) -> None:
    """Counters go to the ledger as they come, beside those that have not changed; gauges are of those connected."""
    attempts, healthy = "invoker_upstream_attempts_total", "invoker_upstream_healthy"
    peer = bench.peer()
    peer.send(
        Report(
            counters={COUNTER: {"refused": 1}}, labelled={attempts: {"u": {"success": 2}}, "made_up": {"u": {"": 1}}}
        ),
        Report(counters={COUNTER: {"refused": 1}}, labelled={attempts: {"u": {"success": 3}}}),
        Report(labelled={attempts: {"v": {"timeout": 1}}}, labelled_gauges={healthy: {"u": 0.5, "v": 1.0}}),
        Report(labelled_gauges={healthy: {"u": None}, "made_up": {"u": 1.0}}),
    )
    assert [work.reported for work in bench.submitted()] == [
        {COUNTER: {"refused": 1}, attempts: {"u success": 2}},
        {attempts: {"u success": 3}},
        {attempts: {"v timeout": 1}},
    ]
    assert bench.live.families().gauges == {healthy: {"v": 1.0}}
    bench.intake.close()
    assert bench.live.families().gauges == {}


@pytest.mark.parametrize("last", [4, 5, 6])
async def test_a_connection_with_too_much_uncommitted_is_not_read_from(bench: Bench, last: int) -> None:
    """From 16384 records and other frames on, until fewer than half of that are left."""
    peer = bench.peer()
    peer.send(*[batch(4096)] * 3, batch(4093), Flush(), Report(counters={COUNTER: {"refused": 1}}))
    bench.intake._begin_turn()
    assert peer.wire.is_reading()
    peer.send(batch(1))
    assert not peer.wire.is_reading()
    works = bench.submitted()
    for work in works[:2]:
        settle(work)
        assert not peer.wire.is_reading()
    settle(works[last])
    assert peer.wire.is_reading()
    for number in {2, 3, 4, 5, 6} - {last}:
        settle(works[number])
    assert peer.wire.is_reading()
    assert bench.intake._waiting_bytes == 0


async def test_what_follows_what_is_refused_is_not_looked_at(bench: Bench) -> None:
    """Though it came in one piece with it."""
    peer = bench.peer(hello=False)
    right, wrong = (Hello(version, "0" * 32, 1) for version in (PROTOCOL_VERSION, PROTOCOL_VERSION + 1))
    peer.send_bytes(encode(wrong) + encode(right) + encode(batch()))
    assert bench.rejected == ["version"]
    assert [type(message) for message in peer.received()] == [Refusal]
    assert (bench.intake.producers, bench.submitted()) == ({}, [])


async def test_memory_that_waits_is_counted_by_text_records_and_frames(bench: Bench) -> None:
    """For each message about what it takes."""
    peer = bench.peer()
    text = batch(3, "m" * 200)
    for message, expected in (
        (text, len(encode(text)) - 4 + FRAME_BYTES + 3 * RECORD_BYTES),
        (
            Report(counters={COUNTER: {"refused": 1, "disk_full": 1}, "made_up": {"x": 1}}),
            FRAME_BYTES + 2 * RECORD_BYTES,
        ),
        (Flush(), FRAME_BYTES),
        (Bye(), FRAME_BYTES),
    ):
        before = bench.intake._waiting_bytes
        peer.send(message)
        assert bench.intake._waiting_bytes - before == expected
    for work in bench.submitted():
        settle(work)
    assert bench.intake._waiting_bytes == 0


async def test_beyond_a_limit_of_memory_none_is_read_from_but_those_without_a_hello(bench: Bench) -> None:
    """Beyond 24 MiB, until half of it is committed; far beyond it, what still comes is refused."""
    peer, other, silent = bench.peer(1), bench.peer(2), bench.peer(3, hello=False)
    reads: list[bool] = []
    for change in (MAX_WAITING_BYTES, 1, -MAX_WAITING_BYTES // 2, -1, MAX_WAITING_BYTES // 2, 1):
        bench.intake.note_waiting(change)
        assert (peer.wire.is_reading(), silent.wire.is_reading()) == (other.wire.is_reading(), True)
        reads.append(peer.wire.is_reading())
    assert reads == [True, False, False, True, True, False]
    bench.intake.note_waiting(MAX_WAITING_BYTES - 1)
    overfull = [bench.intake.overfull]
    silent.hello()
    assert not silent.wire.is_reading()
    bench.intake.note_waiting(1)
    assert [*overfull, bench.intake.overfull] == [False, True]
    silent.send(Flush())
    assert (bench.rejected, silent.wire.ended) == (["no_memory"], "closed")
    assert bench.submitted() == []
    bench.intake.note_waiting(-2 * MAX_WAITING_BYTES - 1)
    assert (peer.wire.is_reading(), other.wire.is_reading()) == (True, True)


async def test_a_turn_is_over_after_so_many_bytes(bench: Bench) -> None:
    """None is read from, until all others have had their turn; then the next one begins."""
    peer, other = bench.peer(1), bench.peer(2)
    await asyncio.sleep(0)
    for _ in range(2):
        bench.intake._begin_turn()
        bench.intake.note_read(TURN_BYTES - 1)
        assert (peer.wire.is_reading(), other.wire.is_reading()) == (True, True)
        bench.intake.note_read(1)
        assert (peer.wire.is_reading(), other.wire.is_reading()) == (False, False)
        bench.intake.note_read(1)
        await asyncio.sleep(0)
        assert (peer.wire.is_reading(), other.wire.is_reading()) == (True, True)
        bench.intake.note_read(TURN_BYTES - 1)
        assert (peer.wire.is_reading(), other.wire.is_reading()) == (True, True)


async def test_reads_are_counted_towards_the_turn(bench: Bench) -> None:
    """By their bytes, whole frames or not."""
    peer = bench.peer()
    before = bench.intake._turn_bytes
    peer.send_bytes(encode(Flush())[:-1])
    peer.send_bytes(encode(Flush())[-1:] + encode(Flush()))
    assert bench.intake._turn_bytes - before == 2 * len(encode(Flush()))


async def test_of_unfinished_frames_the_oldest_must_go(bench: Bench) -> None:
    """Beyond 32 MiB of all connections; a frame that goes on keeps its age, one that begins is the youngest."""
    peers = [bench.peer(number) for number in range(3)]
    first, second, third = (peer.connection for peer in peers)
    third_bytes = MAX_PARTIAL_BYTES // 3
    note = bench.intake.note_partial
    for connection in (first, second, third):
        note(connection, third_bytes, same_frame=False)
    note(first, third_bytes + 1, same_frame=False)
    note(second, third_bytes, same_frame=True)
    note(third, third_bytes + MAX_PARTIAL_BYTES - 3 * third_bytes - 1, same_frame=True)
    assert bench.rejected == []
    assert [*bench.intake._partial_bytes] == [second, third, first]
    note(third, third_bytes + MAX_PARTIAL_BYTES - 3 * third_bytes, same_frame=True)
    assert bench.rejected == ["slow_frame"]
    assert peers[1].wire.ended == "closed"
    assert [*bench.intake._partial_bytes] == [third, first]
    note(first, 0, same_frame=True)
    note(third, 0, same_frame=False)
    assert (bench.intake._partial_sum, bench.intake._partial_bytes) == (0, {})


async def test_a_frame_has_ten_seconds_from_its_first_byte(bench: Bench) -> None:
    """However its rest comes; each frame for itself, and none while nothing has come of the next."""
    peer = bench.peer()
    frame = encode(batch())
    for begin in (b"", frame[3:]):
        peer.send_bytes(begin + frame[:2])
        for _ in range(MAX_FRAME_SWEEPS):
            bench.intake.sweep()
        assert bench.rejected == []
        peer.send_bytes(frame[2:3])
    peer.send_bytes(frame[3:])
    for _ in range(MAX_FRAME_SWEEPS + 1):
        bench.intake.sweep()
    assert bench.rejected == []
    peer.send_bytes(frame[:2])
    for _ in range(MAX_FRAME_SWEEPS):
        bench.intake.sweep()
    peer.send_bytes(frame[2:3])
    bench.intake.sweep()
    assert bench.rejected == ["slow_frame"]
    assert peer.received() == [Refusal("a frame of which 3 bytes came in 10 s")]


@pytest.mark.parametrize(
    ("unread_bytes", "reasons"), [(MAX_UNREAD_REPLY_BYTES, []), (MAX_UNREAD_REPLY_BYTES + 1, ["slow_reader"])]
)
async def test_who_does_not_read_is_left(bench: Bench, unread_bytes: int, reasons: list[str]) -> None:
    """With so many replies unread that it can't be listening any more."""
    peer = bench.peer()
    peer.send(Flush())
    peer.wire.unread_bytes = unread_bytes
    settle(bench.submitted()[0])
    assert bench.rejected == reasons
    assert peer.received() == ([Refusal("acknowledgements are not read")] if reasons else [Flushed()])


@pytest.mark.parametrize(("unread_bytes", "ended"), [(0, "closed"), (1, "aborted")])
async def test_who_does_not_read_the_end_is_cut_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, unread_bytes: int, ended: str
) -> None:
    """Soon after it; others have all that was sent to them."""
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT_S", 0.0)
    peer = bench.peer()
    peer.wire.unread_bytes = unread_bytes
    peer.connection.close()
    assert peer.wire.ended == "closed"
    for _ in range(3):
        await asyncio.sleep(0.001)
    assert peer.wire.ended == ended


async def test_a_hello_is_due_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says none in time makes room; who did may be silent."""
    monkeypatch.setattr(connection_module, "HELLO_TIMEOUT_S", 0.0)
    silent, greeted = bench.peer(1, hello=False), bench.peer(2)
    while not bench.rejected:
        await asyncio.sleep(0.001)
    assert silent.received() == [Refusal("no hello in time")]
    assert (bench.rejected, silent.wire.ended, greeted.wire.ended) == (["hello_timeout"], "closed", "")


async def test_who_said_no_hello_gives_way_to_others(bench: Bench) -> None:
    """The oldest of them first; and nobody who did."""
    greeted, silent, later = bench.peer(1), bench.peer(2, hello=False), bench.peer(3, hello=False)
    assert bench.intake.reserve() == RESERVED_FILES
    newer = bench.peer(4)
    assert [peer.wire.ended for peer in (greeted, silent, later, newer)] == ["", "closed", "", ""]
    assert silent.received() == [Refusal("others said hello sooner")]
    later.hello()
    refused = bench.peer(5, hello=False)
    assert refused.received() == [Refusal("more than 3 connections")]
    assert refused.wire.ended == "closed"
    assert [peer.wire.ended for peer in (greeted, later, newer)] == [""] * 3
    assert bench.rejected == ["connections"] * 2
    greeted.connection.eof_received()
    assert bench.intake.reserve() == RESERVED_FILES + 1
    bench.intake.max_producers = 5
    assert bench.intake.reserve() == RESERVED_FILES + 3


async def test_who_comes_after_the_end_is_not_let_in(bench: Bench) -> None:
    """And all others are let go; it is no fault of theirs."""
    peer = bench.peer(1)
    bench.intake.close()
    late = bench.peer(2, hello=False)
    assert (peer.wire.ended, late.wire.ended, late.received()) == ("closed", "closed", [])
    assert (bench.rejected, bench.intake.connections) == ([], set())


@pytest.mark.parametrize(
    "leave",
    [ProducerConnection.close, ProducerConnection.eof_received, lambda one: one.connection_lost(None)],
)
async def test_whoever_leaves_leaves_nothing_behind(bench: Bench, leave: Callable[[ProducerConnection], None]) -> None:
    """However often it is told, and whatever comes of it later; the last one out is noticed."""
    peer, other = bench.peer(1), bench.peer(2)
    peer.send(Report({"m": 1}), Flush())
    peer.send_bytes(encode(batch())[:-1])
    assert bench.intake._partial_sum > 0
    for _ in range(2):
        leave(peer.connection)
    peer.send(Report({"m": 2}))
    assert bench.intake.connections == {other.connection}
    assert bench.intake.producers == {f"{2:032x}": other.connection}
    assert (bench.intake._partial_sum, bench.live.snapshot().active) == (0, {})
    settle(bench.submitted()[0])
    assert (bench.intake._waiting_bytes, peer.received()) == (0, [])
    assert not bench.intake.all_left.is_set()
    leave(other.connection)
    await bench.intake.wait_until_left(0)
    assert bench.intake.all_left.is_set()
    assert bench.intake.stopping


async def test_a_newer_connection_takes_the_place_of_the_older(bench: Bench) -> None:
    """When the older one ends once more, the newer stays."""
    older, newer = bench.peer(1), bench.peer(1)
    assert older.wire.ended == "closed"
    older.connection.connection_lost(None)
    assert bench.intake.producers == {f"{1:032x}": newer.connection}
    assert not bench.intake.all_left.is_set()
    assert bench.rejected == []


async def test_the_first_rejection_of_a_kind_is_told_at_once_and_others_are_counted(bench: Bench) -> None:
    """Every ten seconds, as long as there are any."""
    with capture_logs() as logged:
        bench.intake.note_rejected("a", "why", "")
        for reason, producer in (("a", "1"), ("b", "2"), ("a", "3")):
            bench.intake.note_rejected(reason, "because", producer)
        for _ in range(REJECTION_LOG_SWEEPS - 1):
            bench.intake.sweep()
    told = [(line["event"], line["reason"], line.get("producer"), line.get("count")) for line in logged]
    assert told == [
        ("intake.producer_rejected", "a", None, None),
        ("intake.producer_rejected", "b", "2", None),
    ]
    with capture_logs() as logged:
        bench.intake.sweep()
        bench.intake.note_rejected("a", "why", "1")
        bench.intake.note_rejected("b", "why", "2")
        for _ in range(3 * REJECTION_LOG_SWEEPS):
            bench.intake.sweep()
        bench.intake.note_rejected("a", "why", "1")
    assert [(line["event"].rpartition(".")[2], line["reason"], line.get("count")) for line in logged] == [
        ("more_producers_rejected", "a", 2),
        ("producer_rejected", "b", None),
        ("more_producers_rejected", "a", 1),
        ("producer_rejected", "a", None),
    ]
    assert bench.rejected == [*"aaba", *"ab", "a"]


@pytest.mark.parametrize("failure", [None, "disk full"])
async def test_those_who_are_connected_are_seen_every_hour(bench: Bench, failure: str | None) -> None:
    """Unless the ledger takes nothing."""
    bench.peer(1), bench.peer(2)
    bench.ledger.failure = failure
    for hour in (1, 2):
        for _ in range(SEEN_INTERVAL_SWEEPS - 1):
            bench.intake.sweep()
        assert bench.submitted() == [], hour
        bench.intake.sweep()
        assert bench.submitted() == ([] if failure else [Work(f"{number:032x}") for number in (1, 2)])
