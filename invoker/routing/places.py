"""Places of calls, counted for the gateway as a whole, in memory that its workers share since they were forked.

A table of numbers: a row for each worker, a column for each limit. A worker changes nothing but its own row, so no
number is lost, and nobody waits for another; who dies leaves a row that the parent clears. A place is taken by adding
one to the own row, then summing the column up, and taking it back if that is over the limit: whatever the order in
which workers do so, the last of them sees all, and no more than the limit go on.

That holds only if the sum isn't read before the others can see the addition, which processors allow themselves: they
keep what is stored in a buffer while they read on. What no read may pass is a lock that is released and taken again:
on x86 either is a locked instruction; on ARM a release is never passed by the acquisition that follows it.
"""

import mmap
import threading

SLOTS = 4096
"""Columns: so many limits are counted at one time."""
_TRIES = 4
"""Two that take the last place at the same moment may both take it back."""


class Tallies:
    """All rows. Made before the workers are forked; memory that nobody has written isn't taken."""

    def __init__(self, workers: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, workers * SLOTS * 8)).cast("q")

    def of(self, number: int) -> "Places":
        """What this worker counts with."""
        return Places(self._cells, number)

    def total(self, slot: int) -> int:
        return sum(self._cells[slot::SLOTS])

    def clear(self, number: int) -> None:
        """Of a worker that has died: its calls have ended."""
        self._cells[number * SLOTS : (number + 1) * SLOTS] = memoryview(bytes(SLOTS * 8)).cast("q")


class Places:
    """One worker's: all of its loop, and of no other thread."""

    def __init__(self, cells: "memoryview[int]", number: int) -> None:
        self._cells = cells
        self._row = number * SLOTS
        self._alone = len(cells) == SLOTS
        self._lock = threading.Lock()
        self._lock.acquire()

    def take(self, slot: int, most: int) -> bool:
        """Whether there was a place, and is one less: never more than so many are taken, by all workers together."""
        cells, at = self._cells, self._row + slot
        if self._alone:
            if cells[at] >= most:
                return False
            cells[at] += 1
            return True
        for _ in range(_TRIES):
            if sum(cells[slot::SLOTS]) >= most:
                return False
            cells[at] += 1
            self.fence()
            if sum(cells[slot::SLOTS]) <= most:
                return True
            cells[at] -= 1
        return False

    def give_back(self, slot: int) -> None:
        self._cells[self._row + slot] -= 1

    def total(self, slot: int) -> int:
        """Of all workers."""
        return sum(self._cells[slot::SLOTS])

    def fence(self) -> None:
        """What was written before is seen by all others before anything is read after it."""
        self._lock.release()
        self._lock.acquire()
