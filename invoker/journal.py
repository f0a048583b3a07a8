"""A producer's records, from the moment they are appended until the sidecar has them."""

import secrets
from collections import deque
from collections.abc import Callable
from typing import Protocol

from shared import logs
from shared.record import Record
from shared.wire import encode_record

MAX_MEMORY_BYTES = 256 * 1024 * 1024

log = logs.get("journal")


class Journal(Protocol):
    """Keeps what is not acknowledged, in the order of its sequence, which starts at 1 and has no gaps.
    `on_append` is called after each append."""

    producer_id: str
    next_sequence: int
    first_sequence: int
    dropped: dict[str, int]
    on_append: Callable[[], object]

    @property
    def bytes_waiting(self) -> int: ...

    def append(self, record: Record) -> None:
        """Keep the record under the next sequence; past the bound it is dropped and counted by reason."""
        ...

    def read(self, first_sequence: int, max_records: int, max_bytes: int) -> list[bytes]:
        """Encoded records from `first_sequence` on, at least one if there is one."""
        ...

    def trim(self, committed: int) -> None:
        """Forget all up to and including this sequence."""
        ...


class MemoryJournal:
    """Implements `Journal` in bounded memory: what waits is lost with the process."""

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self.producer_id = secrets.token_hex(16)
        self.next_sequence = 1
        self.first_sequence = 1
        self.dropped: dict[str, int] = {}
        self.on_append: Callable[[], object] = lambda: None
        self._records: deque[bytes] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes

    @property
    def bytes_waiting(self) -> int:
        return self._bytes

    def append(self, record: Record) -> None:
        encoded = encode_record(record)
        if self._bytes + len(encoded) > self._max_bytes:
            self.dropped["journal_full"] = self.dropped.get("journal_full", 0) + 1
            return
        self._records.append(encoded)
        self._bytes += len(encoded)
        self.next_sequence += 1
        self.on_append()

    def read(self, first_sequence: int, max_records: int, max_bytes: int) -> list[bytes]:
        found: list[bytes] = []
        for index in range(first_sequence - self.first_sequence, len(self._records)):
            encoded = self._records[index]
            max_bytes -= len(encoded)
            if found and (max_bytes < 0 or len(found) >= max_records):
                break
            found.append(encoded)
        return found

    def trim(self, committed: int) -> None:
        while self.first_sequence <= committed and self._records:
            self._bytes -= len(self._records.popleft())
            self.first_sequence += 1
