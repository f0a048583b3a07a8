"""Rows that wait to be rolled up: thousands, so that to look for those of a window takes longer than its sums. Nearly
all are of the last minute, and a window that ends before has none."""

import sqlite3
import threading
from collections import deque

from metrics_sidecar.sqlite.rollups import Progress
from shared.record import MAX_TIMESTAMP_US

_OF_MORE = "SELECT MAX(id), MIN(timestamp_us) FROM invocations WHERE id > ?"


class WaitingRows:
    """Since when they are. Each is looked at once, by who asks first after it came. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # All ids above are looked at, up to that of the last entry: id → the least timestamp of the rows up to it. Both
        # ascend, as an entry is dropped that a later one is not after.
        self._above_id = 0
        self._least_us: deque[tuple[int, int]] = deque()

    def earliest_us(self, connection: sqlite3.Connection, progress: Progress) -> int:
        """None of a snapshot is earlier; as it may be told of some that don't wait any more, all may be later."""
        with self._lock:
            if progress.last_id < self._above_id:  # who asks sees an older state than who asked before
                return 0
            least_us = self._least_us
            while least_us and least_us[0][0] <= progress.last_id:
                self._above_id, _ = least_us.popleft()
            if not least_us:
                self._above_id = progress.last_id
            looked_at = least_us[-1][0] if least_us else self._above_id
            last_id, more_us = connection.execute(_OF_MORE, (looked_at,)).fetchone()
            if last_id is not None:
                while least_us and least_us[-1][1] >= more_us:
                    least_us.pop()
                least_us.append((last_id, more_us))
            return least_us[0][1] if least_us else MAX_TIMESTAMP_US + 1
