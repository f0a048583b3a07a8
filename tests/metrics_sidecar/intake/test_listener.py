"""The socket: what honest producers get, and what others can't do."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from metrics_sidecar.intake.connection import MAX_FRAME_SWEEPS, MAX_WAITING
from metrics_sidecar.intake.intake import MAX_WAITING_BYTES, READ_BYTES, TURN_BYTES, Intake
from metrics_sidecar.intake.listener import listening
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.framing import MAX_FRAME_BYTES, FrameReader
from shared.record import Record
from shared.settings import StartupError
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

MAX_PRODUCERS = 8


class Bench:
    """A running intake on a real socket, with a real ledger behind it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "run" / "sidecar.sock"
        self.rejected: list[str] = []
        self.producers: list[Producer] = []
        self.ledger = Ledger(
            SqliteWriter(directory / "history.db"),
            SystemClock(),
            2000,
            lambda committed: self.live.apply(committed),  # noqa: PLW0108 - it is made after this
            lambda _reason: None,
        )
        self.live = Live(self.ledger.state, 2000)
        self.intake = Intake(self.ledger, self.live, MAX_PRODUCERS, self.rejected.append)

    async def connect(self) -> "Producer":
        self.producers.append(Producer(*await asyncio.open_unix_connection(self.path)))
        return self.producers[-1]


class Producer:
    """A hand-driven connection to the intake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._frames = FrameReader()
        self._received: list[ToProducer] = []

    def send(self, *messages: ToSidecar) -> None:
        self.writer.write(b"".join(encode(message) for message in messages))

    async def receive(self) -> ToProducer | None:
        """The next message, or None when the connection was closed."""
        while not self._received:
            try:
                data = await self._reader.read(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._received += [decode_to_producer(body) for body in self._frames.feed(data)]
        return self._received.pop(0)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def hello(number: int = 0, next_sequence: int = 1, models: tuple[str, ...] = ()) -> Hello:
    return Hello(PROTOCOL_VERSION, f"{number:032x}", next_sequence, list(models))


def batch(first_sequence: int, count: int = 1, model_id: str = "m") -> Batch:
    return Batch(first_sequence, [Record(model_id, 1, 1000)] * count)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.ledger.start()
    async with listening(bench.intake, bench.path):
        yield bench
        for producer in bench.producers:
            await producer.close()
    await bench.ledger.close()


async def test_a_batch_is_acknowledged_once_it_is_in_the_ledger(bench: Bench) -> None:
    """Welcome, then an ack per batch; a reconnecting producer learns what is committed."""
    producer = await bench.connect()
    producer.send(hello(), batch(1, 3), batch(4, 2))
    assert await producer.receive() == Welcome(PROTOCOL_VERSION, 0)
    acks = [await producer.receive() for _ in range(2)]
    assert acks in ([Ack(3), Ack(5)], [Ack(5), Ack(5)])
    assert bench.ledger.committed("0" * 32) == 5
    await producer.close()
    again = await bench.connect()
    again.send(hello(next_sequence=6))
    assert await again.receive() == Welcome(PROTOCOL_VERSION, 5)
    assert bench.live.totals["m"].count == 5


async def test_a_backlog_is_read_in_turns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits at however many connections, others have the event loop in between; all of it arrives."""
    batches = [batch(1 + 256 * number, 256, "m" * 200) for number in range(8)]
    turns, note_read, loop = [0], bench.intake.note_read, asyncio.get_running_loop()

    def note(size_bytes: int) -> None:
        turns[-1] += size_bytes
        note_read(size_bytes)

    def take_turn() -> None:
        turns.append(0)
        loop.call_soon(take_turn)

    monkeypatch.setattr(bench.intake, "note_read", note)
    producers = [await bench.connect() for _ in range(4)]
    for number, producer in enumerate(producers):
        producer.send(hello(number), *batches)
    take_turn()
    for producer in producers:
        assert [type(await producer.receive()) for _ in range(9)] == [Welcome, *[Ack] * 8]
    sent_bytes = len(encode(hello())) + sum(len(encode(each)) for each in batches)
    assert sum(turns) == sent_bytes * len(producers)
    assert max(turns) < TURN_BYTES + READ_BYTES


async def test_calls_in_flight_are_the_sum_over_live_connections(bench: Bench) -> None:
    """A dead worker's share disappears with its connection; known models show at 0."""
    first, second = await bench.connect(), await bench.connect()
    first.send(hello(1, models=("quiet",)), Report({"m": 2}), batch(1))
    second.send(hello(2), Report({"m": 3, "n": 1}), batch(1))
    for producer in (first, second):
        assert [type(await producer.receive()) for _ in range(2)] == [Welcome, Ack]
    totals, active, *_ = bench.live.snapshot()
    assert active == {"m": 5, "n": 1}
    assert {label: total.count for label, total in totals.items()} == {"m": 2, "n": 0, "quiet": 0}
    second.send(Report({"n": 0}), batch(2))
    await second.receive()
    assert bench.live.snapshot().active == {"m": 5}
    await first.close()
    while len(bench.intake.connections) > 1:
        await asyncio.sleep(0.01)
    assert bench.live.snapshot().active == {"m": 3}


async def test_a_worker_that_reconnects_replaces_its_older_connection(bench: Bench) -> None:
    """Half-dead connections of the same producer don't count its calls twice."""
    old, new = await bench.connect(), await bench.connect()
    old.send(hello(), Report({"m": 1}))
    await old.receive()
    new.send(hello(), Report({"m": 1}), batch(1))
    assert [type(await new.receive()) for _ in range(2)] == [Welcome, Ack]
    assert await old.receive() is None
    assert bench.live.snapshot().active == {"m": 1}


async def test_a_flush_is_answered_once_reports_are_committed(bench: Bench) -> None:
    """A producer may remove its journal then: what it has dropped is counted for good."""
    producer = await bench.connect()
    counters = {"invoker_records_dropped_total": {"journal_full": 3}}
    producer.send(hello(), Report(counters=counters), Flush())
    messages = [await producer.receive() for _ in range(3)]
    assert messages == [Welcome(PROTOCOL_VERSION, 0), Ack(0), Flushed()]
    assert bench.live.counters == counters


async def test_bye_ends_a_producers_life(bench: Bench) -> None:
    """The cursor of a producer that is done is removed, and the bye acknowledged."""
    producer = await bench.connect()
    producer.send(hello(), batch(1), Bye())
    assert [type(await producer.receive()) for _ in range(3)] == [Welcome, Ack, Ack]
    assert bench.ledger.committed("0" * 32) == 0


RAW_HELLO = encode(hello())
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def raw_batch(*records: object) -> bytes:
    """A batch as someone else may write it."""
    body = msgspec.msgpack.encode([3, 1, records])
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad_frame"),
        (b"\x00\x00\x00\x00", "bad_frame"),
        ((MAX_FRAME_BYTES + 1).to_bytes(4, "big"), "bad_frame"),
        (encode(batch(1)), "bad_frame"),
        (RAW_HELLO + RAW_HELLO, "bad_frame"),
        (RAW_HELLO + b"\x00\x00\x00\x01\xc1", "bad_frame"),
        (RAW_HELLO + encode(Report({f"m{number}": 1 for number in range(9_000)})) * 1, None),
        (encode(Hello(99, "0" * 32, 1)), "version"),
        (b"\x00\x00\x00\x06" + msgspec.msgpack.encode([1, 1, "x", 1])[:6], "bad_frame"),
    ],
)
async def test_what_is_no_protocol_closes_that_connection_alone(bench: Bench, data: bytes, reason: str | None) -> None:
    """A bad frame costs its sender the connection, with a reason, and harms no other."""
    honest, other = await bench.connect(), await bench.connect()
    honest.send(hello(7))
    assert await honest.receive() == Welcome(PROTOCOL_VERSION, 0)
    other.writer.write(data)
    if reason is not None:
        while (message := await other.receive()) is not None:
            last = message
        assert isinstance(last, Refusal)
    assert bench.rejected == ([] if reason is None else [reason])
    honest.send(batch(1))
    assert await honest.receive() == Ack(1)


@pytest.mark.parametrize(
    "unreadable",
    [
        ["m", 2, 5, None, "", 3, 4, TRACE_ID, *["more"] * 20],
        *(["m", 2, 5, None, "", 3, 4, trace_id] for trace_id in ("0" * 31, "0" * 33, "A" * 32, "0" * 31 + "\n", 1)),
        ["m", 2, 5, "y" * 1_000_000],
        "no record",
        [],
    ],
)
async def test_a_record_that_cannot_be_read_is_set_aside_alone(bench: Bench, unreadable: object) -> None:
    """A gateway of a later version may know what we don't: that stops neither its batch nor the gateway. One of an
    older version says less, which has its default."""
    producer = await bench.connect()
    producer.writer.write(RAW_HELLO + raw_batch(["m", 1, 5], unreadable, ["m", 1, 5, None, "", 3, 4, TRACE_ID]))
    assert [await producer.receive() for _ in range(2)] == [Welcome(PROTOCOL_VERSION, 0), Ack(3)]
    assert bench.rejected == []
    assert bench.live.totals["m"].success_count == 2
    ((_, exemplar),) = bench.live.snapshot().exemplars["m"].items()
    assert exemplar.trace_id == TRACE_ID


@pytest.mark.parametrize(
    ("oldest", "newest", "spoken"),
    [
        (1, 1, 1),
        (1, PROTOCOL_VERSION, PROTOCOL_VERSION),
        (1, 99, PROTOCOL_VERSION),
        (PROTOCOL_VERSION, 1, PROTOCOL_VERSION),
    ],
)
async def test_the_newest_version_that_both_know_is_spoken(bench: Bench, oldest: int, newest: int, spoken: int) -> None:
    """Whichever side is the newer one."""
    producer = await bench.connect()
    producer.send(Hello(oldest, "0" * 32, 1, [], newest))
    assert await producer.receive() == Welcome(spoken, 0)


async def test_a_report_that_cannot_be_read_is_passed_over(bench: Bench) -> None:
    """It is counted; records don't stop for it."""
    producer = await bench.connect()
    body = msgspec.msgpack.encode([5, {}, {"x" * 65: {}}])
    producer.writer.write(RAW_HELLO + len(body).to_bytes(4, "big") + body + raw_batch(["m", 1, 5]))
    assert [await producer.receive() for _ in range(2)] == [Welcome(PROTOCOL_VERSION, 0), Ack(1)]
    assert bench.rejected == ["bad_report"]


async def test_models_that_a_hello_has_no_room_for_are_known_from_reports(bench: Bench) -> None:
    """They count 0 from then on."""
    producer = await bench.connect()
    producer.send(hello(), Report(models=["later"]), Flush())
    assert [await producer.receive() for _ in range(2)] == [Welcome(PROTOCOL_VERSION, 0), Flushed()]
    assert bench.live.snapshot().totals["later"].count == 0


async def test_more_connections_than_allowed_are_refused(bench: Bench) -> None:
    """The limit is told to the one who meets it; a place that is left is free again."""
    producers = [await bench.connect() for _ in range(MAX_PRODUCERS)]
    for number, producer in enumerate(producers):
        producer.send(hello(number))
        await producer.receive()
    refused = await bench.connect()
    assert await refused.receive() == Refusal(f"more than {MAX_PRODUCERS} connections")
    assert await refused.receive() is None
    await producers[0].close()
    while len(bench.intake.connections) == MAX_PRODUCERS:
        await asyncio.sleep(0.01)
    late = await bench.connect()
    late.send(hello(99))
    assert await late.receive() == Welcome(PROTOCOL_VERSION, 0)


async def test_a_flood_is_slowed_and_wholly_counted(bench: Bench) -> None:
    """A producer that sends without reading acks is paused, not buffered without bound; nothing is lost."""
    producer = await bench.connect()
    producer.send(hello())
    for index in range(100):
        producer.send(batch(1 + index * 1000, 1000))
    acked = 0
    while acked < 100_000:
        message = await producer.receive()
        acked = message.committed if isinstance(message, Ack) else acked
        assert bench.ledger.waiting_records <= MAX_WAITING + 256 * 1024 // 12  # what one read can hold
    assert bench.live.totals["m"].count == 100_000


async def test_the_socket_file_is_private_and_replaced_only_when_stale(bench: Bench, tmp_path: Path) -> None:
    """Mode 0660; a live socket and what is no socket are refused; a stale one is replaced."""
    assert stat.S_IMODE(bench.path.stat().st_mode) == 0o660
    with pytest.raises(StartupError, match="another process listens"):
        async with listening(bench.intake, bench.path):
            pass
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(StartupError, match="not a socket"):
        async with listening(bench.intake, file):
            pass
    assert file.read_text() == "precious"
    stale = tmp_path / "stale.sock"
    async with listening(bench.intake, stale):
        (tmp_path / "kept").hardlink_to(stale)
    (tmp_path / "kept").rename(stale)
    async with listening(bench.intake, stale):
        assert stale.is_socket()
    assert not stale.exists()
    with pytest.raises(StartupError, match="too long"):
        async with listening(bench.intake, tmp_path / ("x" * 120)):
            pass


async def test_a_frame_ages_only_while_it_is_read(tmp_path: Path) -> None:
    """It has its ten seconds to the end, and those in which we read from nobody are none of them."""
    bench = Bench(tmp_path)
    bench.ledger.start()
    async with listening(bench.intake, bench.path, sweep_interval_s=3600.0):
        producer = await bench.connect()
        producer.send(hello())
        assert await producer.receive() == Welcome(PROTOCOL_VERSION, 0)
        producer.writer.write(encode(batch(1))[:-1])
        (connection,) = bench.intake.connections
        while not bench.intake._partial_bytes.get(connection):
            await asyncio.sleep(0.01)
        bench.intake.note_waiting(MAX_WAITING_BYTES + 1)
        for _ in range(MAX_FRAME_SWEEPS + 1):
            bench.intake.sweep()
        bench.intake.note_waiting(-MAX_WAITING_BYTES - 1)
        for _ in range(MAX_FRAME_SWEEPS):
            bench.intake.sweep()
        assert bench.rejected == []
        bench.intake.sweep()
        assert bench.rejected == ["slow_frame"]
        await producer.close()
    await bench.ledger.close()


async def test_a_socket_file_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    """Whoever is connected stays; while another file is in its place, that is told, once, and left as it is."""
    bench = Bench(tmp_path)
    bench.ledger.start()
    with capture_logs() as logged:
        async with listening(bench.intake, bench.path, sweep_interval_s=0.01):
            producer = await bench.connect()
            producer.send(hello())
            assert await producer.receive() == Welcome(PROTOCOL_VERSION, 0)
            bench.path.unlink()
            bench.path.write_text("precious")
            while (reason := bench.intake.unreachable) is None:
                await asyncio.sleep(0.01)
            assert "not a socket" in reason
            swept = bench.intake._sweeps
            while bench.intake._sweeps < swept + 3:
                await asyncio.sleep(0.01)
            assert bench.path.read_text() == "precious"
            bench.path.unlink()
            while bench.intake.unreachable:
                await asyncio.sleep(0.01)
            late = await bench.connect()
            late.send(hello(1), batch(1))
            assert [await late.receive() for _ in range(2)] == [Welcome(PROTOCOL_VERSION, 0), Ack(1)]
            producer.send(batch(1))
            assert await producer.receive() == Ack(1)
            for each in bench.producers:
                await each.close()
        assert not bench.path.exists()
    await bench.ledger.close()
    events = [line["event"] for line in logged if line["event"].startswith("intake.socket")]
    assert events == ["intake.socket_lost", "intake.socket_replaced"]
