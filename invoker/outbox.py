"""Ships a journal's records to the sidecar: batches, acknowledgements, reconnects. Callers never wait for it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from invoker.in_flight import InFlight
from invoker.journal import Journal
from shared import logs
from shared.clock import Clock
from shared.wire import (
    MAX_MODELS,
    PROTOCOL_VERSION,
    Ack,
    FrameError,
    FrameReader,
    Hello,
    Refusal,
    Report,
    ToProducer,
    Welcome,
    decode_to_producer,
    encode,
    encode_batch,
)

BATCH_RECORDS = 512
BATCH_BYTES = 256 * 1024
LINGER_S = 0.005
"""How long records gather before a batch is sent."""
WINDOW_RECORDS = 8192
"""Records sent and not acknowledged: what a frozen sidecar can hold in the socket's buffer."""
REPORT_INTERVAL_S = 0.1
RECONNECT_FIRST_S, RECONNECT_LAST_S = 0.05, 1.0
WELCOME_TIMEOUT_S = 5.0

Counters = dict[str, dict[str, int]]

log = logs.get("outbox")


class RefusedError(Exception):
    """The sidecar doesn't want this producer; the message is its reason."""


class Outbox:
    """One worker's way to the sidecar. `run` never ends by itself; cancel it."""

    def __init__(
        self,
        journal: Journal,
        in_flight: InFlight,
        counters: Counters,
        models: list[str],
        socket_path: Path,
        clock: Clock,
    ) -> None:
        self.connected = False
        self._journal = journal
        self._in_flight = in_flight
        self._counters = counters
        self._models = models[:MAX_MODELS]
        self._socket_path = socket_path
        self._clock = clock
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._next_to_send = 1
        self._reported: Counters = {}
        self._gauges: dict[str, float] = {}
        journal.on_append = self._wake.set

    @property
    def records_waiting(self) -> int:
        return self._journal.next_sequence - self._journal.first_sequence

    async def run(self) -> None:
        """Connect, ship until the connection ends, and again."""
        retry_s = RECONNECT_FIRST_S
        while True:
            started_us = self._clock.monotonic_us()
            try:
                await self._session()
                reason = "the sidecar closed the connection"
            except (OSError, FrameError, RefusedError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            if self.connected or retry_s == RECONNECT_FIRST_S:
                log.warning("outbox.disconnected", reason=reason, records_waiting=self.records_waiting)
            self.connected = False
            if self._clock.monotonic_us() - started_us > 1_000_000:
                retry_s = RECONNECT_FIRST_S
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(retry_s * 2, RECONNECT_LAST_S)

    async def drain(self, seconds: float) -> bool:
        """Wait until all records are acknowledged, at most so long; whether they are."""
        self._empty.clear()
        if self.records_waiting and self.connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        return self.records_waiting == 0

    async def _session(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._socket_path)
        try:
            frames = _frames(reader)
            hello = Hello(PROTOCOL_VERSION, self._journal.producer_id, self._journal.first_sequence, self._models)
            writer.write(encode(hello))
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                welcome = await anext(frames, None)
            if not isinstance(welcome, Welcome):
                raise RefusedError(getattr(welcome, "reason", "no welcome from the sidecar"))
            self._begin(welcome)
            async with asyncio.TaskGroup() as group:
                senders = [group.create_task(self._send(writer)), group.create_task(self._report(writer))]
                await self._receive(frames)
                for sender in senders:
                    sender.cancel()
        except* RefusedError as refused:
            raise refused.exceptions[0] from None
        except* (OSError, FrameError, TimeoutError) as failed:
            raise failed.exceptions[0] from None
        finally:
            writer.close()

    def _begin(self, welcome: Welcome) -> None:
        self._journal.trim(welcome.committed)
        self._next_to_send = max(welcome.committed + 1, self._journal.first_sequence)
        self._in_flight.all()
        self._reported, self._gauges = {}, {}
        self._wake.set()
        self.connected = True
        log.info("outbox.connected", committed=welcome.committed, records_waiting=self.records_waiting)

    async def _receive(self, frames: AsyncIterator[ToProducer]) -> None:
        async for message in frames:
            if isinstance(message, Ack):
                self._journal.trim(message.committed)
                self._wake.set()
                if not self.records_waiting:
                    self._empty.set()
            elif isinstance(message, Refusal):
                raise RefusedError(message.reason)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        journal = self._journal
        while True:
            await self._wake.wait()
            await asyncio.sleep(LINGER_S)
            self._wake.clear()
            while self._next_to_send - journal.first_sequence < WINDOW_RECORDS:
                records = journal.read(self._next_to_send, BATCH_RECORDS, BATCH_BYTES)
                if not records:
                    break
                writer.write(encode_batch(self._next_to_send, records))
                self._next_to_send += len(records)
            await writer.drain()

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        """Send what changed of the worker's own numbers, a few times a second."""
        while True:
            report = self._changes()
            if report is not None:
                writer.write(encode(report))
            await asyncio.sleep(REPORT_INTERVAL_S)

    def _changes(self) -> Report | None:
        in_flight = self._in_flight.changes(MAX_MODELS)
        counters = {name: dict(values) for name, values in self._counters.items()}
        if self._journal.dropped:
            counters["invoker_records_dropped_total"] = dict(self._journal.dropped)
        gauges = {
            "invoker_journal_bytes": float(self._journal.bytes_waiting),
            "invoker_records_waiting": float(self.records_waiting),
        }
        changed = in_flight or counters != self._reported or gauges != self._gauges
        report = Report(in_flight, counters if counters != self._reported else {}, gauges)
        self._reported, self._gauges = counters, gauges
        return report if changed else None


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[ToProducer]:
    frame_reader = FrameReader()
    while data := await reader.read(65536):
        for body in frame_reader.feed(data):
            yield decode_to_producer(body)
