"""The socket that gateway workers send their records to: frames in, acknowledgements out."""

import asyncio
import contextlib
import dataclasses
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

from metrics_sidecar.ledger import Ledger, Work
from metrics_sidecar.live import Live, WorkerShare
from shared import logs
from shared.settings import StartupError
from shared.wire import (
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Bye,
    FrameError,
    FrameReader,
    Hello,
    Refusal,
    Report,
    ToProducer,
    Welcome,
    decode_to_sidecar,
    encode,
)

HELLO_TIMEOUT_S = 5.0
SOCKET_MODE = 0o660

# A connection that has so many records (and reports) uncommitted is not read from until half of it is committed.
MAX_WAITING = 16_384
# So many replies unread by a producer that it can't be listening any more.
MAX_UNREAD_REPLY_BYTES = 64 * 1024

log = logs.get("intake")


class Intake:
    """All producer connections. `on_rejected(reason)` is called for each connection closed for its fault."""

    def __init__(self, ledger: Ledger, live: Live, max_producers: int, on_rejected: Callable[[str], None]) -> None:
        self.ledger = ledger
        self.live = live
        self.max_producers = max_producers
        self.on_rejected = on_rejected
        self.connections: set[ProducerConnection] = set()
        self.producers: dict[str, ProducerConnection] = {}
        self.all_left = asyncio.Event()
        self.all_left.set()

    def protocol(self) -> asyncio.Protocol:
        return ProducerConnection(self)

    async def wait_until_left(self, grace_s: float) -> None:
        """Until no producer is connected, at most for the grace time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.all_left.wait()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.close()


class ProducerConnection(asyncio.Protocol):
    """One worker's connection: hello, then batches and reports until it leaves."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self._producer_id = ""
        self._share: WorkerShare | None = None
        self._waiting = 0
        self._paused = False
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        intake = self._intake
        if len(intake.connections) >= intake.max_producers:
            self._reject("connections", f"more than {intake.max_producers} connections")
            return
        intake.connections.add(self)
        loop = asyncio.get_running_loop()
        self._hello_timer = loop.call_later(HELLO_TIMEOUT_S, self._reject, "hello_timeout", "no hello in time")

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._reader.feed(data):
                if self._transport is None:
                    return
                self._receive(body)
        except FrameError as error:
            self._reject("bad_frame", str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        self._forget()

    def _receive(self, body: bytes) -> None:
        message = decode_to_sidecar(body)
        if isinstance(message, Hello):
            self._welcome(message)
        elif self._share is None:
            raise FrameError("the first frame is not a hello")
        elif isinstance(message, Batch):
            self._submit(Work(self._producer_id, message.first_sequence, message.records), len(message.records))
        elif isinstance(message, Report):
            self._share.report(message.in_flight, message.gauges)
            if message.counters:
                self._submit(Work(self._producer_id, reported=message.counters), 1)
        elif isinstance(message, Bye):
            self._submit(Work(self._producer_id, retire=True), 1)
            self._leaving = True

    def _welcome(self, hello: Hello) -> None:
        intake = self._intake
        if self._share is not None:
            raise FrameError("a second hello")
        if hello.version != PROTOCOL_VERSION:
            self._reject("version", f"protocol version {hello.version}; this sidecar speaks {PROTOCOL_VERSION}")
            return
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        # The worker itself says that it lives here now: its older connection is a dead one.
        if older := intake.producers.get(hello.producer_id):
            older.close()
        self._producer_id = hello.producer_id
        self._share = WorkerShare(hello.models)
        intake.producers[hello.producer_id] = self
        intake.live.shares.add(self._share)
        intake.all_left.clear()
        self._send(Welcome(PROTOCOL_VERSION, intake.ledger.committed(hello.producer_id)))
        log.info("intake.producer_connected", producer=hello.producer_id, next_sequence=hello.next_sequence)

    def _submit(self, work: Work, weight: int) -> None:
        self._waiting += weight
        if self._waiting >= MAX_WAITING and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

        def acknowledge(committed: int) -> None:
            self._acknowledge(weight, committed)

        self._intake.ledger.submit(dataclasses.replace(work, done=acknowledge))

    def _acknowledge(self, weight: int, committed: int) -> None:
        self._waiting -= weight
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() > MAX_UNREAD_REPLY_BYTES:
            self._reject("slow_reader", "acknowledgements are not read")
            return
        self._send(Ack(committed))
        if self._leaving and not self._waiting:
            self.close()
            return
        if self._paused and self._waiting <= MAX_WAITING // 2:
            self._paused = False
            transport.resume_reading()

    def _send(self, message: ToProducer) -> None:
        if self._transport is not None:
            self._transport.write(encode(message))

    def _reject(self, reason: str, detail: str) -> None:
        log.warning("intake.producer_rejected", producer=self._producer_id or None, reason=reason, detail=detail)
        self._intake.on_rejected(reason)
        self._send(Refusal(detail))
        self.close()

    def _forget(self) -> None:
        """Take this connection's share out of the live numbers. Idempotent."""
        intake = self._intake
        self._transport = None
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        intake.connections.discard(self)
        if self._share is not None:
            intake.live.shares.discard(self._share)
            log.info("intake.producer_left", producer=self._producer_id)
            if intake.producers.get(self._producer_id) is self:
                del intake.producers[self._producer_id]
            self._share = None
        if not intake.producers:
            intake.all_left.set()


@contextlib.asynccontextmanager
async def listening(intake: Intake, path: Path) -> AsyncIterator[None]:
    """The socket file, created with mode 0660, and removed at the end if it is still ours."""
    listener, inode = _bind(path)
    server = await asyncio.get_running_loop().create_unix_server(intake.protocol, sock=listener)
    try:
        yield
    finally:
        server.close()
        intake.close()
        _remove(path, inode)


def _bind(path: Path) -> tuple[socket.socket, int]:
    """A listening socket and its file's inode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must be right from the file's first moment on, not after a chmod.
    umask = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise StartupError(f"SIDECAR_SOCKET: {str(path)!r} can't be listened on: {_reason(error)}") from None
    finally:
        os.umask(umask)
    listener.listen(512)
    listener.setblocking(False)
    return listener, path.stat().st_ino


def _remove(path: Path, inode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; `StartupError` for anything else in its place."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartupError(f"SIDECAR_SOCKET: {str(path)!r} exists and is not a socket; it is left as it is")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise StartupError(f"SIDECAR_SOCKET: {str(path)!r} can't be used: {_reason(error)}") from None
        else:
            raise StartupError(f"SIDECAR_SOCKET: another process listens on {str(path)!r}")


def _reason(error: OSError) -> str:
    if error.errno is None:
        return str(error)  # such as "AF_UNIX path too long"
    return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
