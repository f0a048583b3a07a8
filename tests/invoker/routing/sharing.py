"""Processes that take places from one another: `python -m tests.invoker.routing.sharing within 1`, say. In a process of
its own, which has no threads when it forks."""

import mmap
import os
import signal
import sys
from collections.abc import Callable

from invoker.routing.places import Places, Tallies

PROCESSES, ROUNDS = 4, 20_000


def forked(work: Callable[[], None]) -> int:
    """A process that does this; its id."""
    if pid := os.fork():
        return pid
    try:
        work()
    finally:
        os._exit(0)


def within(most: int) -> tuple[int, int]:
    """How many were within at once, at most, by what each of them saw; and how many places are taken in the end."""
    tallies = Tallies(PROCESSES)
    shared = memoryview(mmap.mmap(-1, 2 * PROCESSES * 8)).cast("q")
    marks, seen = shared[:PROCESSES], shared[PROCESSES:]

    def work(number: int) -> None:
        places, got = tallies.of(number), 0
        while got < ROUNDS:
            if places.take(7, most):
                got += 1
                marks[number] = 1
                places.fence()
                seen[number] = max(seen[number], sum(marks))
                marks[number] = 0
                places.fence()
                places.give_back(7)

    for pid in [forked(lambda number=number: work(number)) for number in range(PROCESSES)]:  # type: ignore[misc]
        os.waitpid(pid, 0)
    return max(seen), tallies.total(7)


def killed(times: int) -> list[int]:
    """What is left of each that was killed while it took places and gave them back, once its row is cleared."""
    tallies, left = Tallies(2), []

    def work(places: Places) -> None:
        while True:
            if places.take(1, 1):
                places.take(2, 1_000_000)
                places.give_back(1)

    for _ in range(times):
        pid = forked(lambda: work(tallies.of(0)))
        while tallies.total(2) < 100:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        tallies.clear(0)
        left.append(tallies.total(1) + tallies.total(2))
        assert tallies.of(1).take(1, 1)
        tallies.of(1).give_back(1)
    return left


if __name__ == "__main__":
    print({"within": within, "killed": killed}[sys.argv[1]](int(sys.argv[2])))
