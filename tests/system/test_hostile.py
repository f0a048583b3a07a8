"""Whatever is sent to the sidecar's socket: its memory stays bounded, and an honest worker loses nothing."""

import contextlib
import itertools
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metrics_sidecar.intake.connection import HELLO_TIMEOUT_S, MAX_FRAME_SWEEPS
from shared.framing import MAX_FRAME_BYTES
from shared.record import ErrorType, Record
from shared.wire import PROTOCOL_VERSION, Batch, Bye, Hello, Report, encode
from tests.processes import Process, System, eventually, get, get_text, system

MAX_RSS_BYTES = 150 * 1024 * 1024
CONNECTIONS = 5_000
INVOKE_EVERY_S = 0.02
PATIENCE_S = 60.0


class Attacked:
    """A sidecar with an honest gateway, whose caller goes on through the attack; and hostile connections."""

    def __init__(self, started: System, sidecar: Process) -> None:
        self.started = started
        self.sidecar = sidecar
        self.sockets: list[socket.socket] = []
        self.invoked = 0
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._caller = threading.Thread(target=self._call)

    def connect(self) -> socket.socket:
        """A connection that is closed at the end of the test."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.started.socket))
        connection.settimeout(5.0)
        self.sockets.append(connection)
        return connection

    def introduced(self, models: list[str] | None = None) -> socket.socket:
        """A connection that has said hello as a producer never seen before."""
        connection = self.connect()
        send(connection, encode(Hello(PROTOCOL_VERSION, f"{next(self._numbers):032x}", 1, models or [])))
        return connection

    def start(self) -> None:
        self._caller.start()

    def end(self) -> None:
        """The attack is over; the honest worker's records have all arrived, each once."""
        self.stop()
        assert self.started.settled("honest", self.invoked)["total_invocations"] == self.invoked
        assert self.started.history("model_id=honest&limit=1")["total_count"] == self.invoked

    def stop(self) -> None:
        """Idempotent."""
        self._over.set()
        self._caller.join()
        for connection in self.sockets:
            connection.close()

    def peak_bytes(self) -> int:
        """The most memory that the sidecar ever had."""
        status = Path(f"/proc/{self.sidecar.pid}/status").read_text()
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak) * 1024

    def _call(self) -> None:
        while not self._over.wait(INVOKE_EVERY_S):
            status, _ = self.started.invoke("honest")
            assert status == 200
            self.invoked += 1


def send(connection: socket.socket, data: bytes) -> bool:
    """Whether all of it could be sent; the sidecar may close, or stop reading."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def random_bytes(attacked: Attacked) -> None:
    chance = random.Random(1)
    for _ in range(300):
        send(attacked.connect(), chance.randbytes(chance.randrange(1, 5000)))
    for _ in range(300):
        send(attacked.introduced(), chance.randbytes(chance.randrange(1, 5000)))


def mangled_frames(attacked: Attacked) -> None:
    """Whole frames with bytes changed, left out or cut off."""
    chance = random.Random(2)
    frame = encode(Batch(1, [Record(f"m{number}", number, number, ErrorType.TIMEOUT, "why") for number in range(20)]))
    for _ in range(500):
        mangled = bytearray(frame)
        for _ in range(chance.randrange(1, 5)):
            mangled[chance.randrange(len(mangled))] = chance.randrange(256)
        send(attacked.introduced(), bytes(mangled[: chance.randrange(1, len(mangled) + 1)]))


def giant_lengths(attacked: Attacked) -> None:
    for length in (0, MAX_FRAME_BYTES + 1, 2**31, 2**32 - 1):
        for _ in range(100):
            send(attacked.introduced(), length.to_bytes(4, "big") + bytes(1000))


def tiny_frames(attacked: Attacked) -> None:
    """A million, from a few connections."""
    frames = encode(Report()) * 10_000
    connections = [attacked.introduced() for _ in range(10)]
    for _ in range(10):
        for connection in connections:
            assert send(connection, frames)


def unfinished_frames(attacked: Attacked) -> None:
    """A thousand frames of a mebibyte, each short of its last bytes."""
    frame = MAX_FRAME_BYTES.to_bytes(4, "big") + bytes(MAX_FRAME_BYTES - 10)
    for _ in range(900):
        send(attacked.connect(), frame)


def unread_acknowledgements(attacked: Attacked) -> None:
    """Producers that send what is taken, and never read a reply."""
    batches = b"".join(encode(Batch(1 + number, [Record("flood", 1, 1)])) for number in range(20_000))
    for _ in range(50):
        connection = attacked.introduced()
        connection.settimeout(0.2)
        send(connection, batches)


def record_floods(attacked: Attacked) -> None:
    """As many and as large records at once as 200 connections can send."""
    large = encode(Batch(1, [Record("m" * 256, 1, 1, ErrorType.TIMEOUT, "x" * 2048)] * 400))
    small = encode(Batch(1, [Record("m", 1, 1)] * 4096))
    for number in range(200):
        connection = attacked.introduced()
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send((large if number % 2 else small) * 3)


def many_models(attacked: Attacked) -> None:
    """Hellos and reports that name as many models as a frame holds."""
    for number in range(60):
        names = [f"{number}-{index}-".ljust(100, "x") for index in range(9_000)]
        connection = attacked.introduced(names)
        for part in range(4):
            send(connection, encode(Report({f"{part}{name}": 1 for name in names[:2_400]})))


def many_counters(attacked: Attacked) -> None:
    """New producers, new counter names, new label values and new gauges, again and again."""
    name = "invoker_records_dropped_total"
    for number in range(1_000):
        connection = attacked.introduced()
        for part in range(3):
            values = {f"{number}-{part}-{index}": 1 for index in range(60)}
            made_up = {f"made_up_{number}_{part}_{index}": values for index in range(30)}
            gauges = {f"gauge_{number}_{part}_{index}": 1.0 for index in range(60)}
            send(connection, encode(Report({}, {name: values, **made_up}, gauges)))
        connection.close()


def byes(attacked: Attacked) -> None:
    for _ in range(500):
        send(attacked.introduced(), encode(Bye()) * 1_000)


ATTACKS = [
    random_bytes,
    mangled_frames,
    giant_lengths,
    tiny_frames,
    unfinished_frames,
    unread_acknowledgements,
    record_floods,
    many_models,
    many_counters,
    byes,
]


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Attacked]:
    """With room for all the sockets of this process; the sidecar starts with a low limit, as many shells have."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    with system(tmp_path) as started:
        try:
            started.start_mock()
            sidecar = started.start_sidecar()
            started.start_gateway()
            resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
            attacked = Attacked(started, sidecar)
            attacked.start()
            try:
                yield attacked
            finally:
                attacked.stop()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_the_honest_nothing(attacked: Attacked, attack: Callable[[Attacked], None]) -> None:
    """Memory stays within the bound at its peak, records of the honest arrive meanwhile, and the books agree."""
    attack(attacked)
    at_the_end = attacked.invoked
    attacked.started.settled("honest", at_the_end)  # while the hostile are still connected
    attacked.end()
    assert attacked.peak_bytes() < MAX_RSS_BYTES
    reconciled = get(f"{attacked.started.sidecar_url}/metrics/reconcile")
    assert reconciled["differences"] == []
    assert "made_up" not in get_text(f"{attacked.started.sidecar_url}/metrics")
    assert len(attacked.sidecar.lines) < 3 * len(attacked.sockets) + 200


def test_five_thousand_connections(attacked: Attacked) -> None:
    """Those that say nothing make way for those that say hello; beyond the limit a further one is refused."""
    for _ in range(CONNECTIONS // 2):
        attacked.connect()
    for _ in range(CONNECTIONS // 2):
        attacked.introduced()
    attacked.started.settled("honest", attacked.invoked, 120)
    url = f"{attacked.started.sidecar_url}/metrics"
    assert "sidecar_producers_connected 1024.0" in get_text(url)
    attacked.end()
    assert attacked.peak_bytes() < MAX_RSS_BYTES
    eventually(lambda: "sidecar_producers_connected 1.0" in get_text(url), bool)


def test_the_silent_lose_their_place(attacked: Attacked) -> None:
    """Connections without a hello and those in the middle of a frame are closed, and not before their time."""
    started = time.monotonic()
    silent = [attacked.connect() for _ in range(3)]
    slow = attacked.introduced()
    slow.recv(100)
    slow.sendall((1000).to_bytes(4, "big"))
    for connection in silent:
        connection.settimeout(PATIENCE_S)
        assert b"no hello in time" in connection.recv(1000)
    assert time.monotonic() - started >= HELLO_TIMEOUT_S - 1  # clocks of event loops are coarse
    slow.settimeout(0.5)
    answer = b""
    while not answer and time.monotonic() < started + PATIENCE_S:
        send(slow, b"x")  # it is at work, but it won't finish
        with contextlib.suppress(TimeoutError):
            answer = slow.recv(1000)
    assert b"a frame of which" in answer
    assert time.monotonic() - started >= MAX_FRAME_SWEEPS - 1
    attacked.end()
