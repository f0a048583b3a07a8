"""All producers' connections together: who is connected, and how much may wait."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from metrics_sidecar.intake.file_plan import RESERVED_FILES
from metrics_sidecar.ledger.ledger import Ledger
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.live import Live
from shared import logs
from shared.accepting import Acceptors

SEEN_INTERVAL_SWEEPS = 3600
REJECTION_LOG_SWEEPS = 10

READ_BYTES = 64 * 1024
"""What is read at once, from one connection."""
TURN_BYTES = 128 * 1024
"""What is read in one go, from all connections together (2 ms); then others have their turn on the event loop.
libuv alone would go on for as long as a producer sends, up to 2 MB."""
MAX_PARTIAL_BYTES = 32 * 1024 * 1024
"""Of frames whose end is still missing, all connections together: the oldest of them must go."""
MAX_WAITING_BYTES = 24 * 1024 * 1024
"""Of memory that what is received and not committed takes, all connections together: beyond it, none is
read from until half of it is committed."""

log = logs.get("intake")


class Connection(Protocol):
    """What all of them together ask of one."""

    def update_reading(self) -> None: ...

    def age_frame(self) -> None: ...

    def reject(self, reason: str, detail: str) -> None: ...

    def close(self) -> None: ...


class Intake:
    """All producer connections. `on_rejected(reason)` is called for each connection closed for its fault."""

    def __init__(
        self,
        ledger: Ledger,
        live: Live,
        max_producers: int,
        on_rejected: Callable[[str], None],
        acceptors: Acceptors | None = None,
    ) -> None:
        self.ledger = ledger
        self.live = live
        self.max_producers = max_producers
        self.acceptors = acceptors or Acceptors()
        self.connections: set[Connection] = set()
        self.greeting: dict[Connection, None] = {}
        self.producers: dict[str, Connection] = {}
        self.all_left = asyncio.Event()
        self.all_left.set()
        self.full = False
        self.turn_over = False
        self.stopping = False
        self.closed = False
        self.unreachable: str | None = None
        # One for all: what is read is taken over before anything else is read.
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._on_rejected = on_rejected
        self._turn_bytes = 0
        self._waiting_bytes = 0
        self._partial_bytes: dict[Connection, int] = {}  # in the order in which the frames began
        self._partial_sum = 0
        self._sweeps = 0
        self._rejected_unlogged: dict[str, int] = {}

    @property
    def overfull(self) -> bool:
        """Whether more waits than connections that are not read from can explain."""
        return self._waiting_bytes > 2 * MAX_WAITING_BYTES

    def reserve(self) -> int:
        """Files that others leave: for producers that may still come, and for the sidecar's own work."""
        return RESERVED_FILES + max(self.max_producers - len(self.connections), 0)

    def make_room(self) -> bool:
        """Whether there is a place for one more connection: that of the oldest one without a hello, if need be."""
        if len(self.connections) >= self.max_producers and self.greeting:
            next(iter(self.greeting)).reject("connections", "others said hello sooner")
        return len(self.connections) < self.max_producers

    def note_waiting(self, change_bytes: int) -> None:
        """So much more, or less, is received and not committed. Tells the connections what follows."""
        self._waiting_bytes += change_bytes
        full = self._waiting_bytes > (MAX_WAITING_BYTES // 2 if self.full else MAX_WAITING_BYTES)
        if full != self.full:
            self.full = full
            self._update_reading()

    def note_read(self, size_bytes: int) -> None:
        """So much was read. Reading stops when it is enough for one turn."""
        self._turn_bytes += size_bytes
        if self._turn_bytes >= TURN_BYTES and not self.turn_over:
            self.turn_over = True
            self._update_reading()
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def note_partial(self, connection: Connection, partial_bytes: int, *, same_frame: bool) -> None:
        """So much of a connection's latest frame is here, or nothing of a next one."""
        self._partial_sum += partial_bytes - self._partial_bytes.get(connection, 0)
        if not same_frame or not partial_bytes:
            self._partial_bytes.pop(connection, None)
        if partial_bytes:
            self._partial_bytes[connection] = partial_bytes
        while self._partial_sum > MAX_PARTIAL_BYTES:
            oldest = next(iter(self._partial_bytes))
            oldest.reject("slow_frame", "its frame was the oldest unfinished one, and memory is short")

    def note_rejected(self, reason: str, detail: str, producer_id: str) -> None:
        """Count it; and tell of the first of its kind in a while, so that a flood doesn't fill the log."""
        self._on_rejected(reason)
        if reason in self._rejected_unlogged:
            self._rejected_unlogged[reason] += 1
            return
        self._rejected_unlogged[reason] = 0
        log.warning("intake.producer_rejected", producer=producer_id or None, reason=reason, detail=detail)

    def sweep(self) -> None:
        """Once a second: frames that take too long, the log of rejections, the sign of life in the ledger."""
        self._sweeps += 1
        for connection in [*self._partial_bytes]:
            connection.age_frame()
        if self._sweeps % REJECTION_LOG_SWEEPS == 0:
            for reason, count in self._rejected_unlogged.items():
                if count:
                    log.warning("intake.more_producers_rejected", reason=reason, count=count)
            self._rejected_unlogged = {reason: 0 for reason, count in self._rejected_unlogged.items() if count}
        if self._sweeps % SEEN_INTERVAL_SWEEPS == 0 and self.ledger.failure is None:
            for producer_id in self.producers:
                self.ledger.submit(Work(producer_id))

    def _begin_turn(self) -> None:
        self._turn_bytes = 0
        self.turn_over = False
        self._update_reading()

    def _update_reading(self) -> None:
        for connection in self.connections:
            connection.update_reading()

    async def wait_until_left(self, grace_s: float) -> None:
        """Until no producer is connected, at most for the grace time; callers of the API are told meanwhile."""
        self.stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.all_left.wait()

    def close(self) -> None:
        self.closed = True
        for connection in list(self.connections):
            connection.close()
