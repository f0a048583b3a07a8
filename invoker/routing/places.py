"""Places of calls, counted for the gateway as a whole, in memory that its workers share since they were forked.

A table of numbers: a row for each worker, and three columns for each limit: its calls, those that wait,
and what a worker holds for right (see `adapting`). A worker
changes nothing but its own row, so no number is lost, and nobody waits for another; who dies leaves a row that the
parent clears. A place is taken by adding one to the own row, then summing the column up, and taking it back if that is
over the limit: whatever the order in which workers do so, the last of them sees all, and no more than the limit go on.

That holds only if the sum isn't read before the others can see the addition, which processors allow themselves: they
keep what is stored in a buffer while they read on. What no read may pass is a lock that is released and taken again:
on x86 either is a locked instruction; on ARM a release is never passed by the acquisition that follows it.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Sequence

SLOTS = 4096
"""So many limits are counted at one time."""
COLUMNS = 3 * SLOTS
WAITING, ADAPTED = SLOTS, 2 * SLOTS
"""How far behind the column of a limit's calls are those of who waits for it, and of what it is to be."""
_TRIES = 4
"""Two that take the last place at the same moment may both take it back."""


class Tallies:
    """All rows, and a bell for each worker. Made before the workers are forked; memory that nobody has written isn't
    taken."""

    def __init__(self, workers: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, workers * COLUMNS * 8)).cast("q")
        self._bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(workers)] if workers > 1 else []

    def of(self, number: int) -> "Places":
        """What this worker counts with."""
        return Places(self._cells, self._bells, number)

    def total(self, column: int) -> int:
        return sum(self._cells[column::COLUMNS])

    def clear(self, number: int) -> None:
        """Of a worker that has died: its calls have ended."""
        self._cells[number * COLUMNS : (number + 1) * COLUMNS] = memoryview(bytes(COLUMNS * 8)).cast("q")

    def close(self) -> None:
        for bell in self._bells:
            os.close(bell)


class Places:
    """One worker's: all of its loop, and of no other thread. `bell`: readable once another worker has rung it; a worker
    that is alone has none."""

    def __init__(self, cells: "memoryview[int]", bells: Sequence[int], number: int) -> None:
        self.bell = bells[number] if bells else None
        self._bells = bells
        self._cells = cells
        self._number = number
        self._row = number * COLUMNS
        self._lock = threading.Lock()
        self._lock.acquire()

    def take(self, column: int, most: int) -> bool:
        """Whether there was a place, and is one less: never more than so many are taken, by all workers together."""
        cells, at = self._cells, self._row + column
        if self.bell is None:
            if cells[at] >= most:
                return False
            cells[at] += 1
            return True
        for _ in range(_TRIES):
            if sum(cells[column::COLUMNS]) >= most:
                return False
            cells[at] += 1
            self.fence()
            if sum(cells[column::COLUMNS]) <= most:
                return True
            cells[at] -= 1
        return False

    def give_back(self, column: int) -> None:
        self._cells[self._row + column] -= 1

    def total(self, column: int) -> int:
        """Of all workers."""
        if self.bell is None:
            return self._cells[column]
        return sum(self._cells[column::COLUMNS])

    def put(self, column: int, number: int) -> None:
        """In the own row."""
        self._cells[self._row + column] = number

    def numbers(self, column: int) -> list[int]:
        """Of the workers that have something there."""
        return [number for number in self._cells[column::COLUMNS] if number]

    def own(self, column: int) -> int:
        return self._cells[self._row + column]

    def fence(self) -> None:
        """What was written before is seen by all others before anything is read after it."""
        if self.bell is not None:
            self._lock.release()
            self._lock.acquire()

    def next_of(self, column: int) -> int | None:
        """The worker after this one, in a ring, that has something there; this one comes last."""
        cells = self._cells[column::COLUMNS]
        if not any(cells):
            return None
        ring = (*range(self._number + 1, len(cells)), *range(self._number + 1))
        return next((number for number in ring if cells[number]), None)

    def is_own(self, number: int) -> bool:
        return number == self._number

    def ring(self, number: int) -> None:
        """Have another worker look."""
        os.eventfd_write(self._bells[number], 1)

    def hear(self) -> None:
        """The bell has rung, however often."""
        if self.bell is not None:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.bell)
