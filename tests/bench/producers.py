"""Records without a gateway: producers that speak the wire protocol to a sidecar as an outbox does."""

import dataclasses
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import msgspec

from invoker.delivery.outbox import BATCH_RECORDS, WINDOW_RECORDS
from shared.framing import FrameReader
from shared.record import ErrorType, Record
from shared.wire import (
    PROTOCOL_VERSION,
    Ack,
    Hello,
    Report,
    ToProducer,
    Welcome,
    decode_to_producer,
    encode,
    encode_batch,
    encode_record,
    encode_report,
)
from tests.bench.ground import BenchError

TIMEOUT_S = 120.0
FAILURES = 0.01


def make_records(
    count: int, models: int, seed: int = 1, name_of: Callable[[int], str] = "model-{:04}".format
) -> list[Record]:
    """Records as a busy gateway makes them: 10,000 a second, one in a hundred a failure with its text."""
    random = Random(seed)
    names = [name_of(number) for number in range(1, models + 1)]
    timestamp_us = time.time_ns() // 1000 - count * 100
    records = []
    for number in range(count):
        timestamp_us += random.randrange(200)
        latency_us = int(random.lognormvariate(10, 0.7))
        name = names[number] if number < models else random.choice(names)
        if random.random() < FAILURES:
            error_log = "upstream gave no answer within 120 s"
            records.append(Record(name, timestamp_us, latency_us, ErrorType.TIMEOUT, error_log, 5, 0))
        else:
            records.append(Record(name, timestamp_us, latency_us, None, "", 5, 5))
    return records


def tell_all(records: Sequence[Record], seed: int = 1) -> list[Record]:
    """As of streamed chats: with all that a gateway can tell of one."""
    random = Random(seed)
    return [
        msgspec.structs.replace(
            record,
            trace_id=f"{random.getrandbits(128):032x}",
            request_id=f"{random.getrandbits(96):024x}",
            protocol="openai",
            operation="chat",
            streamed=True,
            upstream=f"10.0.0.{random.randrange(16)}:8001",
            status_code=200,
            attempts=1,
            fallback_from="model-0001",
            time_to_first_token_us=record.latency_us // 3,
            time_per_output_token_us=20_000 + random.randrange(10_000),
            input_tokens=random.randrange(4000),
            cached_input_tokens=random.randrange(1000),
            output_tokens=random.randrange(1000),
            reasoning_tokens=random.randrange(100),
            cost_nano_usd=random.randrange(10_000_000),
            tags={"team": "search"},
        )
        for record in records
    ]


@dataclasses.dataclass(frozen=True)
class Frame:
    """A batch, encoded, and the sequence of its last record."""

    data: bytes
    last_sequence: int
    records: int


def make_frames(records: Sequence[Record], batch: int = BATCH_RECORDS, first_sequence: int = 1) -> list[Frame]:
    """One producer's batches, with sequences from the first one on."""
    frames = []
    for start in range(0, len(records), batch):
        encoded = [encode_record(record) for record in records[start : start + batch]]
        first = first_sequence + start
        frames.append(Frame(encode_batch(first, encoded), first + len(encoded) - 1, len(encoded)))
    return frames


class Producer:
    """One connection. `ship` sends frames within the window of an outbox, and returns when all are acknowledged."""

    def __init__(self, socket_path: Path, window: int = WINDOW_RECORDS) -> None:
        self._window = window
        self._reader = FrameReader()
        self._committed = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(str(socket_path))
        self._socket.sendall(encode(Hello(PROTOCOL_VERSION, secrets.token_hex(16), 1)))
        self._receive()

    def ship(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            while frame.last_sequence - self._committed > self._window:
                self._receive()
            self._socket.sendall(frame.data)
        while self._committed < frames[-1].last_sequence:
            self._receive()

    def report(self, report: Report) -> None:
        """Beside its records."""
        for frame in encode_report(report):
            self._socket.sendall(frame)

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise BenchError("the sidecar closed the connection")
        for body in self._reader.feed(data):
            self._take(decode_to_producer(body))

    def _take(self, message: ToProducer) -> None:
        if isinstance(message, Ack):
            self._committed = message.committed
        elif not isinstance(message, Welcome):
            raise BenchError(f"the sidecar refused: {message}")


def ship_all(socket_path: Path, shares: Sequence[Sequence[Frame]]) -> float:
    """Seconds from the first byte sent until the last record of the last producer is acknowledged."""
    producers = [Producer(socket_path) for _ in shares]
    try:
        with ThreadPoolExecutor(len(shares)) as pool:
            started = time.perf_counter()
            for done in [pool.submit(one.ship, share) for one, share in zip(producers, shares, strict=True)]:
                done.result()
            return time.perf_counter() - started
    finally:
        for producer in producers:
            producer.close()
