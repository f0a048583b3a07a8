"""Ends reads: those that take too long, and those that nobody waits for any more."""

import contextlib
import sqlite3
import sys
from collections.abc import Iterator

STEPS_PER_LOOK = 10_000
"""Of SQLite's virtual machine: about half a millisecond."""


class StepsOverError(Exception):
    """More steps would have been needed."""


class Guard:
    """One read's. `stop` may be called from any thread; the read then raises `sqlite3.OperationalError`."""

    def __init__(self) -> None:
        self.stopped = False
        self._looks_left: int | None = None

    def stop(self) -> None:
        self.stopped = True

    @contextlib.contextmanager
    def watching(self, connection: sqlite3.Connection) -> Iterator[None]:
        """End what the connection executes once `stop` was called."""
        connection.set_progress_handler(self._look, STEPS_PER_LOOK)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    @contextlib.contextmanager
    def limited(self, steps: int) -> Iterator[None]:
        """Within it, what is executed may take so many steps, too: `StepsOverError` beyond them. A limit within
        another can't be wider, and takes of its steps."""
        before = self._looks_left
        granted = self._looks_left = min(steps // STEPS_PER_LOOK, sys.maxsize if before is None else before)
        try:
            yield
        except sqlite3.OperationalError as error:
            if self.stopped or self._looks_left >= 0:
                raise
            raise StepsOverError from error
        finally:
            self._looks_left = None if before is None else before - granted + self._looks_left

    def _look(self) -> bool:
        if self._looks_left is not None:
            self._looks_left -= 1
            return self.stopped or self._looks_left < 0
        return self.stopped
