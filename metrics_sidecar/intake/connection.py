"""One gateway worker's connection: hello, then batches and reports, until it leaves."""

import asyncio
import dataclasses
from typing import cast

from metrics_sidecar.intake.families import known_labelled
from metrics_sidecar.intake.intake import Intake
from metrics_sidecar.intake.reported import Counters, known_counters
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.live import WorkerShare
from shared import logs
from shared.framing import FrameError, FrameReader
from shared.wire import (
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Bye,
    Flush,
    Flushed,
    Hello,
    Mixed,
    Refusal,
    Report,
    ToProducer,
    Welcome,
    clip_reason,
    decode_to_sidecar,
    encode,
    is_report,
)

HELLO_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0

MAX_WAITING = 16_384
"""A connection that has so many records (and reports) uncommitted is not read from until half are committed."""
MAX_UNREAD_REPLY_BYTES = 64 * 1024
"""So many replies unread by a producer that it can't be listening any more."""
MAX_FRAME_SWEEPS = 10
"""So many seconds in which we would have read the rest of a frame, and it didn't come."""
RECORD_BYTES, FRAME_BYTES = 250, 1000
"""About what a record takes in memory beside its text, and what a frame takes."""

log = logs.get("intake")


class ProducerConnection(asyncio.BufferedProtocol):
    """What is received, what waits for its commit, and what is answered."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self._producer_id = ""
        self._share: WorkerShare | None = None
        self._reported: Counters = {}
        self._waiting = 0
        self._held_back = False
        self._paused = False
        self._leaving = False
        self._partial_bytes = 0
        self._frame_sweeps = 0

    def _is_closed(self) -> bool:
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        intake = self._intake
        if intake.closed:  # accepted just before the end
            self.close()
            return
        if not intake.make_room():
            self.reject("connections", f"more than {intake.max_producers} connections")
            return
        intake.connections.add(self)
        intake.greeting[self] = None
        loop = asyncio.get_running_loop()
        self._hello_timer = loop.call_later(HELLO_TIMEOUT_S, self.reject, "hello_timeout", "no hello in time")

    def get_buffer(self, _size_hint: int) -> memoryview:
        return self._intake.read_buffer

    def buffer_updated(self, size: int) -> None:
        if self._is_closed():
            return
        partial_bytes = self._partial_bytes + size
        same_frame = True
        try:
            for body in self._reader.feed(bytes(self._intake.read_buffer[:size])):
                partial_bytes -= len(body) + 4
                same_frame = False
                self._receive(body)
                if self._is_closed():
                    return
        except FrameError as error:
            self.reject("bad_frame", str(error))
            return
        self._partial_bytes = partial_bytes
        if not same_frame:
            self._frame_sweeps = 0
        self._intake.note_partial(self, partial_bytes, same_frame=same_frame)
        self._intake.note_read(size)

    def eof_received(self) -> None:
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    def age_frame(self) -> None:
        """A second has passed, and the frame is not finished. That is our own doing while we don't read."""
        self._frame_sweeps += not self._paused
        if self._frame_sweeps > MAX_FRAME_SWEEPS:
            self.reject("slow_frame", f"a frame of which {self._partial_bytes} bytes came in {MAX_FRAME_SWEEPS} s")

    def update_reading(self) -> None:
        """Read on or not: no connection may fill the memory or hold the event loop, nor all of them together."""
        self._held_back = self._waiting >= (MAX_WAITING // 2 if self._held_back else MAX_WAITING)
        pause = self._held_back or self._intake.turn_over or (self._intake.full and self._share is not None)
        if pause == self._paused or self._transport is None:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def reject(self, reason: str, detail: str) -> None:
        """Close the connection for its fault, and tell why."""
        detail = clip_reason(detail)
        self._intake.note_rejected(reason, detail, self._producer_id)
        self._send(Refusal(detail))
        self.close()

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
            if transport.get_write_buffer_size():  # a peer that doesn't read must not keep it open
                asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, transport.abort)
        self._forget()

    def _receive(self, body: bytes) -> None:
        try:
            message = decode_to_sidecar(body)
        except FrameError as error:
            if not is_report(body) or self._share is None:
                raise
            # Of a newer gateway, perhaps. Its records are readable, and don't stop for it.
            self._intake.note_rejected("bad_report", clip_reason(str(error)), self._producer_id)
            return
        if isinstance(message, Hello):
            self._welcome(message)
        elif self._share is None:
            raise FrameError("the first frame is not a hello")
        elif self._leaving:
            return  # such as a report that crossed with its bye
        elif isinstance(message, Batch | Mixed):
            work = Work(self._producer_id, message.first_sequence, message.records)
            count = len(message.records)
            self._submit(work, count, len(body) + FRAME_BYTES + RECORD_BYTES * count)
        elif isinstance(message, Report):
            self._take_report(message, self._share)
        elif isinstance(message, Bye):
            self._leaving = True
            self._submit(Work(self._producer_id, retire=True), 1, FRAME_BYTES)
        elif isinstance(message, Flush):
            # The ledger takes work in order, so once this is done, all before it is committed.
            self._submit(Work(self._producer_id), 1, FRAME_BYTES, Flushed())

    def _take_report(self, report: Report, share: WorkerShare) -> None:
        self._intake.live.report(share, report.in_flight, report.gauges, report.labelled_gauges)
        self._intake.live.know(report.models)
        counters = known_counters(report.counters)
        if counters == self._reported:
            counters = {}
        elif counters:
            self._reported = counters
        counters = counters | known_labelled(report.labelled)
        if counters:
            values = sum(map(len, counters.values()))
            self._submit(Work(self._producer_id, reported=counters), 1, FRAME_BYTES + RECORD_BYTES * values)

    def _welcome(self, hello: Hello) -> None:
        intake = self._intake
        if self._share is not None:
            raise FrameError("a second hello")
        if not OLDEST_VERSION <= hello.version <= PROTOCOL_VERSION:
            spoken = f"{OLDEST_VERSION} to {PROTOCOL_VERSION}"
            self.reject("version", f"protocol version {hello.version}; this sidecar speaks {spoken}")
            return
        if not intake.ledger.has_room_for(hello.producer_id):
            self.reject("producers", "too many producers have gone without a bye")
            return
        self._greeted()
        # The worker itself says that it lives here now: its older connection is a dead one.
        if older := intake.producers.get(hello.producer_id):
            older.close()
        self._producer_id = hello.producer_id
        self._share = intake.live.join(hello.models)
        intake.producers[hello.producer_id] = self
        intake.all_left.clear()
        version = max(hello.version, min(hello.newest, PROTOCOL_VERSION))
        self._send(Welcome(version, intake.ledger.committed(hello.producer_id)))
        log.info(
            "intake.producer_connected",
            producer=hello.producer_id,
            next_sequence=hello.next_sequence,
            version=version,
            newer=hello.newest > PROTOCOL_VERSION,
        )
        self.update_reading()

    def _submit(self, work: Work, weight: int, memory_bytes: int, reply: ToProducer | None = None) -> None:
        """Queue for the ledger; answer, once it is committed, with an `Ack` or the reply that is given."""
        if self._intake.overfull:  # what came in one piece with the hello, perhaps from many at once
            self.reject("no_memory", "too much waits for its commit; send it again")
            return

        def acknowledge(committed: int) -> None:
            self._intake.note_waiting(-memory_bytes)
            self._acknowledge(weight, reply or Ack(committed))

        self._waiting += weight
        self._intake.note_waiting(memory_bytes)
        self._intake.ledger.submit(dataclasses.replace(work, done=acknowledge))
        self.update_reading()

    def _acknowledge(self, weight: int, reply: ToProducer) -> None:
        self._waiting -= weight
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MAX_UNREAD_REPLY_BYTES:
            self.reject("slow_reader", "acknowledgements are not read")
            return
        self._send(reply)
        if self._leaving and not self._waiting:
            self.close()
            return
        self.update_reading()

    def _send(self, message: ToProducer) -> None:
        if self._transport is not None:
            self._transport.write(encode(message))

    def _greeted(self) -> None:
        self._intake.greeting.pop(self, None)
        if self._hello_timer is not None:
            self._hello_timer.cancel()

    def _forget(self) -> None:
        """Take this connection's share out of the live numbers. Idempotent."""
        intake = self._intake
        self._transport = None
        self._greeted()
        self._reader = FrameReader()
        intake.note_partial(self, 0, same_frame=False)
        intake.connections.discard(self)
        if self._share is not None:
            intake.live.leave(self._share)
            log.info("intake.producer_left", producer=self._producer_id)
            if intake.producers.get(self._producer_id) is self:
                del intake.producers[self._producer_id]
            self._share = None
        if not intake.producers:
            intake.all_left.set()
