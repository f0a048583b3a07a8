"""Ships a journal's records to the sidecar: batches, acknowledgements, reconnects. No caller waits for it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from invoker.delivery.reporting import NONE, FamilySource, Reporting, ReportSource
from invoker.journal.journal import Journal
from shared import logs
from shared.clock import Clock
from shared.framing import MAX_FRAME_BYTES, FrameError, FrameReader
from shared.wire import (
    MODELS_PER_FRAME,
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    Ack,
    Bye,
    Flush,
    Flushed,
    Hello,
    Refusal,
    ToProducer,
    Welcome,
    clip_reason,
    decode_to_producer,
    encode,
    encode_batch,
    encode_report,
)

BATCH_RECORDS = 512
BATCH_BYTES = 256 * 1024
LINGER_S = 0.02
"""How long records gather before a batch is sent: fewer and larger ones cost less."""
PACE_S = 0.005
"""A backlog, too, goes out one batch at a time, each in well under a millisecond, so that calls get their turn."""
WINDOW_RECORDS = 8192
"""Records sent and not acknowledged. (What a frozen sidecar leaves in our buffers is less: nothing is written before
the transport has room again, and what waits, waits in the journal.)"""
MAX_RECORD_BYTES = MAX_FRAME_BYTES - 64
IN_FLIGHT_INTERVAL_S = 0.1
RECONNECT_FIRST_S, RECONNECT_LAST_S = 0.05, 1.0
WELCOME_TIMEOUT_S = 5.0
BYE_TIMEOUT_S = 2.0

log = logs.get("outbox")

Durable = Callable[[], Awaitable[None]]


class RefusedError(Exception):
    """The sidecar doesn't want this producer, or something that it has sent; the message is its reason."""


class Outbox:
    """One producer's way to the sidecar. `run` ends when `finish` was asked for and nothing is left: then
    the journal is removed and the sidecar told so. Otherwise cancel it; what waits stays in the journal."""

    def __init__(
        self,
        journal: Journal,
        socket_path: Path,
        clock: Clock,
        report: ReportSource,
        models: list[str],
        durable: Durable | None = None,
        *,
        finishing: bool = False,
        families: FamilySource = lambda: NONE,
    ) -> None:
        """`models`: those that are known before any call. `durable`: what records wait for before they are shipped."""
        self.connected = False
        self.finished = False
        self._journal = journal
        self._socket_path = socket_path
        self._clock = clock
        self._reporting = Reporting(report, families)
        self._models = models
        self._untold: list[str] = []  # of those, on this connection
        self._durable = durable
        self._wake = asyncio.Event()
        self._flushed = asyncio.Event()
        self._next_to_send = 1
        self._refused: set[int] = set()  # sequences that the sidecar can never take, until all before are committed
        self._finishing = finishing
        journal.on_append = self._wake.set

    def tell_of(self, models: list[str]) -> None:
        """These are known now, before any call."""
        self._models = self._untold = models

    async def run(self) -> None:
        """Connect, ship until the connection ends, and again."""
        retry_s = RECONNECT_FIRST_S
        told = ""
        while True:
            started_us = self._clock.monotonic_us()
            try:
                await self._session()
                reason = "the sidecar closed the connection"
            except (OSError, FrameError, RefusedError) as error:
                reason = str(error) or type(error).__name__
            except Exception as error:
                reason = repr(error)
                if reason != told:
                    log.exception("outbox.failed", producer=self._journal.producer_id)
            if self.finished:
                return
            if self.connected or reason != told:
                log.warning("outbox.disconnected", reason=reason, records_waiting=self._journal.records_waiting)
            self.connected, told = False, reason
            if self._clock.monotonic_us() - started_us > RECONNECT_LAST_S * 1_000_000:
                retry_s = RECONNECT_FIRST_S
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(retry_s * 2, RECONNECT_LAST_S)

    def finish(self) -> None:
        """Nothing more will be appended: end as soon as all is acknowledged."""
        self._finishing = True
        self._wake.set()

    async def _session(self) -> None:
        """One connection, from hello to its end."""
        reader, writer = await asyncio.open_unix_connection(self._socket_path)
        try:
            frames = _frames(reader)
            await self._greet(frames, writer)
            tasks = [
                asyncio.create_task(self._receive(frames)),
                asyncio.create_task(self._send(writer)),
                asyncio.create_task(self._send_reports(writer)),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()
        finally:
            # What is still unsent is sent again; waiting for it could take as long as the sidecar is frozen.
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _greet(self, frames: AsyncIterator[ToProducer], writer: asyncio.StreamWriter) -> None:
        journal = self._journal
        models = self._models[:MODELS_PER_FRAME]
        hello = Hello(OLDEST_VERSION, journal.producer_id, journal.first_sequence, models, PROTOCOL_VERSION)
        write(writer, encode(hello))
        async with asyncio.timeout(WELCOME_TIMEOUT_S):
            welcome = await anext(frames, None)
        if not isinstance(welcome, Welcome):
            raise RefusedError(clip_reason(getattr(welcome, "reason", "no welcome from the sidecar")))
        await journal.settle(self._behind_refused(welcome.committed))
        self._next_to_send = journal.first_sequence
        self._wake.set()
        self.connected = True
        version, waiting = welcome.version, journal.records_waiting
        log.info("outbox.connected", committed=welcome.committed, records_waiting=waiting, version=version)
        if version < PROTOCOL_VERSION:  # records are sent whole: it keeps what it can't read, but for the first version
            log.warning("outbox.older_sidecar", version=version, newest=PROTOCOL_VERSION)

    async def _receive(self, frames: AsyncIterator[ToProducer]) -> None:
        async for message in frames:
            if isinstance(message, Ack):
                self._journal.trim(self._behind_refused(message.committed))
                self._wake.set()
            elif isinstance(message, Flushed):
                self._flushed.set()
            elif isinstance(message, Refusal):
                reason = clip_reason(message.reason)
                self._leave_out(message.records, reason)
                raise RefusedError(reason)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(PACE_S if self._unsent >= BATCH_RECORDS or self._finishing else LINGER_S)
            await writer.drain()
            self._wake.clear()
            if self._durable is not None:
                await self._durable()
            if self._send_batch(writer) and self._unsent:
                self._wake.set()
            if self._finishing and not self._journal.records_waiting:
                await self._say_bye(writer)
                return

    @property
    def _unsent(self) -> int:
        return self._journal.next_sequence - self._next_to_send

    def _send_batch(self, writer: asyncio.StreamWriter) -> int:
        """Send what waits, up to a batch; how many records that were."""
        while self._next_to_send in self._refused:
            self._next_to_send += 1
        room = self._journal.first_sequence + WINDOW_RECORDS - self._next_to_send
        if room <= 0:
            return 0  # the next acknowledgement wakes us
        first, records = self._journal.read(self._next_to_send, min(room, BATCH_RECORDS), BATCH_BYTES)
        if self._refused:
            records = records[: next((at for at in range(len(records)) if first + at in self._refused), None)]
        if records and len(records[0]) > MAX_RECORD_BYTES:
            self._leave_out([first], "it is larger than a frame may be")
        elif records:
            write(writer, encode_batch(first, records))
        self._next_to_send = first + len(records)
        return len(records)

    def _leave_out(self, sequences: list[int], reason: str) -> None:
        """Records that can never be shipped must not stop the others: they are counted, told of, and left out."""
        held = range(self._journal.first_sequence, self._journal.next_sequence)
        new = {sequence for sequence in sequences if sequence in held} - self._refused
        if new:
            self._refused |= new
            self._journal.count_refused(len(new))
            log.error("outbox.records_refused", count=len(new), first_sequence=min(new), reason=reason)
            self._journal.trim(self._behind_refused(self._journal.first_sequence - 1))

    def _behind_refused(self, committed: int) -> int:
        """The last sequence that needs no sending, now that all up to this one is committed."""
        while committed + 1 in self._refused:
            committed += 1
            self._refused.discard(committed)
        return committed

    async def _send_reports(self, writer: asyncio.StreamWriter) -> None:
        """Calls in flight as they change, a few times a second; the other numbers about once a second."""
        report = msgspec.structs.replace(self._reporting.all(), models=self._models[MODELS_PER_FRAME:])
        self._untold = []
        while True:
            for frame in encode_report(report):
                await writer.drain()
                write(writer, frame)
            await asyncio.sleep(IN_FLIGHT_INTERVAL_S)
            await writer.drain()  # a change that can't be sent yet is not looked for
            report = msgspec.structs.replace(self._reporting.next(), models=self._untold)
            self._untold = []

    async def _say_bye(self, writer: asyncio.StreamWriter) -> None:
        # Removed only when the last report is committed, and before the bye: after that, the sidecar wouldn't
        # recognise records that are sent again.
        self._flushed.clear()
        for frame in encode_report(self._reporting.all()):
            write(writer, frame)
        write(writer, encode(Flush()))
        await self._flushed.wait()
        if self._durable is not None:
            await self._durable()  # what it still does to files of the journal
        await asyncio.to_thread(self._journal.discard)
        self._journal.close()
        self.finished = True
        write(writer, encode(Bye()))
        await asyncio.sleep(BYE_TIMEOUT_S)  # the sidecar closes the connection, which ends the session


def write(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """`OSError` once the connection is lost. asyncio ignores such a write; uvloop raises RuntimeError, which
    would end `run` for good: our tasks hear of the loss a few turns of the event loop later."""
    if writer.is_closing():
        raise ConnectionResetError("the connection is lost")
    writer.write(frame)


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[ToProducer]:
    frame_reader = FrameReader()
    while data := await reader.read(65536):
        for body in frame_reader.feed(data):
            yield decode_to_producer(body)
