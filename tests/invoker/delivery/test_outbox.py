"""The outbox, and a sidecar that does what it should, or doesn't."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from invoker.call.in_flight import InFlight
from invoker.delivery import outbox as module
from invoker.delivery.outbox import WINDOW_RECORDS, Outbox
from invoker.journal.directory import Bound
from invoker.journal.journal import Journal
from invoker.journal.segment import MIN_SEGMENT_BYTES
from shared.clock import SystemClock
from shared.framing import MAX_FRAME_BYTES
from shared.record import Record
from shared.wire import (
    MODELS_PER_FRAME,
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Bye,
    Flush,
    Flushed,
    Hello,
    Refusal,
    Report,
    Welcome,
)
from tests.invoker.conftest import until
from tests.invoker.delivery.fake_sidecar import FakeSidecar

CLOCK = SystemClock()
LONG_ID = "\U0001f600" * 250  # of four bytes each


def silent(_everything: bool) -> Report:
    return Report()


def counting() -> Callable[[bool], Report]:
    """A report source whose reports all differ."""
    turn = 0

    def report(_everything: bool) -> Report:
        nonlocal turn
        turn += 1
        return Report({"m": turn})

    return report


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """One whose segments are small, so that a few hundred records are many of them."""
    bound = Bound(tmp_path / "journal", 64 * 1024 * 1024, 1)
    bound.segment_bytes = MIN_SEGMENT_BYTES
    journal = Journal.create(bound, CLOCK)
    yield journal
    journal.close()


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[FakeSidecar]:
    async with FakeSidecar(tmp_path / "s").listening() as sidecar:
        yield sidecar


@contextlib.asynccontextmanager
async def running(
    journal: Journal,
    path: Path,
    report: Callable[[bool], Report] = silent,
    models: list[str] | None = None,
    *,
    finishing: bool = False,
) -> AsyncIterator[Outbox]:
    outbox = Outbox(journal, path, CLOCK, report, models or [], finishing=finishing)
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        await asyncio.wait([task])


def append(journal: Journal, count: int, error_log: str = "") -> None:
    for _ in range(count):
        journal.append(Record(f"m{journal.next_sequence}", 1, 1, None, error_log))


def models_of(sequences: Iterator[int] | range) -> dict[int, str]:
    return {sequence: f"m{sequence}" for sequence in sequences}


async def test_all_is_shipped_in_order_and_given_up_once_it_is_acknowledged(
    journal: Journal, sidecar: FakeSidecar
) -> None:
    """Over many segments; what is acknowledged leaves the journal, and what comes later follows."""
    append(journal, 1000, "x" * 500)
    async with running(journal, sidecar.path) as outbox:
        peer = await sidecar.accept()
        hello = await peer.welcome()
        assert (hello.producer_id, hello.next_sequence, hello.models) == (journal.producer_id, 1, [])
        assert await peer.records(1000) == models_of(range(1, 1001))
        await until(lambda: journal.records_waiting == 0)
        assert outbox.connected
        append(journal, 1)
        assert await peer.records(1) == models_of(range(1001, 1002))
    assert journal.bytes_used <= 4 * MIN_SEGMENT_BYTES


async def test_what_was_not_acknowledged_is_sent_again(journal: Journal, sidecar: FakeSidecar) -> None:
    """From behind what the sidecar says that it has, while more is appended to the segment that is read from."""
    append(journal, 150, "x" * 500)
    async with running(journal, sidecar.path):
        peer = await sidecar.welcome()
        await peer.records(150, acknowledge=False)
        for committed, again in ((0, 150), (70, 150), (149, 151)):
            peer.close()
            peer = await sidecar.welcome(committed)
            append(journal, again - journal.next_sequence + 1)
            assert await peer.records(again - committed, acknowledge=False) == models_of(
                range(committed + 1, again + 1)
            )


async def test_no_more_is_sent_than_a_window(
    journal: Journal, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next acknowledgement opens it."""
    monkeypatch.setattr(module, "PACE_S", 0.0)
    monkeypatch.setattr(module, "LINGER_S", 0.0)
    append(journal, WINDOW_RECORDS + 100)
    async with running(journal, sidecar.path, counting()):
        peer = await sidecar.welcome()
        assert await peer.records(WINDOW_RECORDS, acknowledge=False) == models_of(range(1, WINDOW_RECORDS + 1))
        reports = [await peer.receive() for _ in range(2)]  # and no batch before them
        assert [type(report) for report in reports] == [Report, Report]
        peer.send(Ack(1))
        assert await peer.records(100) == models_of(range(WINDOW_RECORDS + 1, WINDOW_RECORDS + 101))


@pytest.mark.parametrize("pause", [True, False])
async def test_a_frozen_sidecar_fills_no_memory(
    journal: Journal, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch, pause: bool
) -> None:
    """Neither records nor reports are made ready for a transport that has no room: they wait where they are."""
    writers: list[asyncio.StreamWriter] = []
    connect = asyncio.open_unix_connection

    async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await connect(path)
        writers.append(writer)
        return reader, writer

    def report(_everything: bool) -> Report:
        return Report({f"{LONG_ID}{number}": 1 for number in range(100)})

    for name in ("PACE_S", "LINGER_S", "IN_FLIGHT_INTERVAL_S"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(asyncio, "open_unix_connection", connected)
    append(journal, 5000 if pause else 1, "x" * 2000)
    async with running(journal, sidecar.path, report):
        await sidecar.welcome()  # and it reads nothing more
        await until(lambda: writers and writers[0].transport.get_write_buffer_size() > 64 * 1024)
        for _ in range(300):
            await asyncio.sleep(0)
        assert writers[0].transport.get_write_buffer_size() < 2 * MAX_FRAME_BYTES


async def test_no_welcome_in_time_is_a_lost_connection(
    journal: Journal, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sidecar that has accepted and says nothing is tried again, for it may be another one then."""
    monkeypatch.setattr(module, "WELCOME_TIMEOUT_S", 0.01)
    append(journal, 1)
    async with running(journal, sidecar.path) as outbox:
        silent_peer = await sidecar.accept()
        assert isinstance(await silent_peer.receive(), Hello)
        assert await silent_peer.receive() is None
        assert not outbox.connected
        monkeypatch.setattr(module, "WELCOME_TIMEOUT_S", 20.0)
        peer = await sidecar.accept()
        while await peer.receive() is None:  # one that was begun before
            peer = await sidecar.accept()
        monkeypatch.undo()
        peer.send(Refusal("go away"))
        peer = await sidecar.welcome()
        assert await peer.records(1) == models_of(range(1, 2))


async def test_a_refusal_is_followed_by_longer_and_longer_pauses(
    journal: Journal, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither side is kept busy by a producer that isn't wanted."""
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)  # twice what is asked below: clocks are coarse
    loop = asyncio.get_running_loop()
    pauses_s = []
    async with running(journal, sidecar.path):
        for _ in range(4):
            peer = await sidecar.accept()
            refused_s = loop.time()
            peer.send(Refusal("not you"))
            next_peer = await sidecar.accept()
            pauses_s.append(loop.time() - refused_s)
            next_peer.close()
    # Each is at least half of what it is meant to be; how much longer it takes is the machine's affair.
    assert [pause_s >= least_s for pause_s, least_s in zip(pauses_s, (0.025, 0.1, 0.4, 0.5), strict=True)] == [True] * 4


async def test_the_end_waits_until_all_is_flushed(journal: Journal, sidecar: FakeSidecar) -> None:
    """The journal is there as long as the sidecar may not have the last report; the bye comes after its end."""
    append(journal, 3)
    async with running(journal, sidecar.path, counting()) as outbox:
        peer = await sidecar.welcome()
        await peer.records(3)
        outbox.finish()
        assert isinstance(await peer.next(Flush), Flush)
        for _ in range(3):
            assert isinstance(await peer.receive(), Report)  # it goes on, and waits
        assert (journal.directory.exists(), outbox.finished) == (True, False)
        peer.send(Flushed())
        assert isinstance(await peer.next(Bye), Bye)
        assert (journal.directory.exists(), outbox.finished) == (False, True)


async def test_what_is_not_acknowledged_is_never_parted_from(journal: Journal, sidecar: FakeSidecar) -> None:
    """An outbox that is to end ends when the last record is committed, and not when it is sent."""
    append(journal, 3)
    async with running(journal, sidecar.path, counting(), finishing=True):
        peer = await sidecar.welcome()
        await peer.records(3, acknowledge=False)
        peer.send(Ack(2))
        for _ in range(3):
            assert isinstance(await peer.receive(), Report)
        peer.send(Ack(3))
        await peer.part()


async def test_records_that_the_sidecar_cannot_take_are_left_out_and_counted(
    journal: Journal, sidecar: FakeSidecar
) -> None:
    """The first, one between others, and the last, which nothing follows; all others arrive, and the end is reached."""
    append(journal, 10)
    async with running(journal, sidecar.path, finishing=True) as outbox:
        peer = await sidecar.welcome()
        await peer.records(10, acknowledge=False)
        peer.send(Refusal("unknown error type", [1, 5, 10]))
        peer = await sidecar.welcome()
        found = [await peer.next(Batch), await peer.next(Batch)]
        assert [(batch.first_sequence, len(batch.records)) for batch in found] == [(2, 3), (6, 4)]
        peer.send(Ack(9))
        await peer.part()
        await until(lambda: outbox.finished)
    assert (journal.dropped, journal.records_waiting) == ({"refused": 3}, 0)


async def test_a_record_larger_than_a_frame_is_left_out(tmp_path: Path, sidecar: FakeSidecar) -> None:
    """It can't be sent, whatever wrote it; the others can."""
    journal = Journal.create(Bound(tmp_path / "large", 64 * 1024 * 1024, 1), CLOCK)
    append(journal, 1)
    append(journal, 1, "x" * MAX_FRAME_BYTES)
    append(journal, 1)
    async with running(journal, sidecar.path, finishing=True):
        peer = await sidecar.welcome()
        assert await peer.records(2) == {1: "m1", 3: "m3"}
        await peer.part()
    assert journal.dropped == {"refused": 1}
    journal.close()


async def test_however_many_models_are_known_and_in_flight_the_sidecar_learns_of_all(
    journal: Journal, sidecar: FakeSidecar
) -> None:
    """No frame is beyond the limit, which would end the connection, again and again."""
    known = [f"{LONG_ID}{number}" for number in range(3 * MODELS_PER_FRAME + 1)]
    in_flight = InFlight()
    for number in range(3 * MODELS_PER_FRAME):
        in_flight.enter(f"{LONG_ID}{number}")

    def report(everything: bool) -> Report:
        return Report(in_flight.all() if everything else in_flight.changes())

    append(journal, 1)
    async with running(journal, sidecar.path, report, known):
        peer = await sidecar.accept()
        hello = await peer.welcome()
        told, counts = set(hello.models), dict[str, int]()
        while told != set(known) or counts != dict.fromkeys(known[: 3 * MODELS_PER_FRAME], 1):
            found = await peer.next(Report)
            told |= set(found.models)
            counts |= found.in_flight
        for number in range(3 * MODELS_PER_FRAME):
            in_flight.leave(f"{LONG_ID}{number}")
        while any(counts.values()):
            counts |= (await peer.next(Report)).in_flight
        append(journal, 1)
        assert await peer.records(1) == models_of(range(2, 3))


async def test_a_report_that_cannot_be_made_stops_no_record(journal: Journal, sidecar: FakeSidecar) -> None:
    """It is a defect, told once; what the worker is for goes on, to the end."""

    def report(_everything: bool) -> Report:
        raise RuntimeError("a defect")

    append(journal, 3)
    async with running(journal, sidecar.path, report) as outbox:
        peer = await sidecar.welcome()
        assert await peer.records(3) == models_of(range(1, 4))
        outbox.finish()
        await peer.part()


@pytest.mark.parametrize("version", [1, PROTOCOL_VERSION])
async def test_an_older_sidecar_gets_records_as_they_are(journal: Journal, sidecar: FakeSidecar, version: int) -> None:
    """It keeps what it can't read: nothing is taken out of a record for it. It is told which versions are spoken, and
    the log says that it is older."""
    append(journal, 2)
    with capture_logs() as logs:
        async with running(journal, sidecar.path):
            peer = await sidecar.accept()
            hello = await peer.receive()
            assert isinstance(hello, Hello)
            assert (hello.version, hello.newest) == (OLDEST_VERSION, PROTOCOL_VERSION)
            peer.send(Welcome(version, 0))
            assert await peer.records(2) == models_of(range(1, 3))
    told = [entry["version"] for entry in logs if entry["event"] == "outbox.older_sidecar"]
    assert told == ([version] if version < PROTOCOL_VERSION else [])
