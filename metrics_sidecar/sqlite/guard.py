"""Ends reads: those that take too long, and those that nobody waits for any more."""

import contextlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from typing import Literal

Outcome = Literal["too long", "left"]

STEPS_PER_LOOK = 10_000
"""Of SQLite's virtual machine: about half a millisecond."""


class StepsOverError(Exception):
    """More steps would have been needed."""


class Guard:
    """One read's. What SQLite does for it raises `sqlite3.OperationalError` once `look` gives a reason, which is then
    the `outcome`."""

    def __init__(self, look: Callable[[], Outcome | None] = lambda: None) -> None:
        self.outcome: Outcome | None = None
        self._look_out = look
        self._looks_left = math.inf

    @contextlib.contextmanager
    def watching(self, connection: sqlite3.Connection) -> Iterator[None]:
        """What the connection executes."""
        connection.set_progress_handler(self._look, STEPS_PER_LOOK)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    @contextlib.contextmanager
    def limited(self, steps: int) -> Iterator[None]:
        """Within it, what is executed may take so many steps, too: `StepsOverError` beyond them."""
        self._looks_left = steps // STEPS_PER_LOOK
        try:
            yield
        except sqlite3.OperationalError as error:
            if self.outcome is not None or self._looks_left >= 0:
                raise
            raise StepsOverError from error
        finally:
            self._looks_left = math.inf

    def _look(self) -> bool:
        self._looks_left -= 1
        self.outcome = self._look_out()
        return self.outcome is not None or self._looks_left < 0
