"""Deadlines of many tasks with few timers: of those with the same timeout, the first to begin is the first to end."""

import asyncio

from invoker.call.ending import Ending, Endings


class Deadlines:
    """Ends a task that is still here when its time is over. Keeps one timer and one queue per timeout, of which there
    are as many as the models file names."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endings: Endings) -> None:
        self._loop = loop
        self._endings = endings
        self._queues: dict[float, dict[asyncio.Task[object], float]] = {}  # timeout → task → loop time of its end
        self._armed: set[float] = set()

    def add(self, task: asyncio.Task[object], timeout_s: float) -> None:
        """From now until `remove`, which must follow."""
        queue = self._queues.get(timeout_s)
        if queue is None:
            queue = self._queues[timeout_s] = {}
        queue[task] = self._loop.time() + timeout_s
        if timeout_s not in self._armed:
            self._armed.add(timeout_s)
            self._loop.call_later(timeout_s, self._expire, timeout_s)

    def remove(self, task: asyncio.Task[object], timeout_s: float) -> None:
        self._queues[timeout_s].pop(task, None)

    def remaining_s(self, task: asyncio.Task[object], timeout_s: float) -> float:
        """Seconds that a task has left; none once its time is over."""
        return self._queues[timeout_s].get(task, 0.0) - self._loop.time()

    def tasks(self) -> frozenset[asyncio.Task[object]]:
        """All whose time is not over."""
        return frozenset().union(*self._queues.values())

    def _expire(self, timeout_s: float) -> None:
        queue, now_s = self._queues[timeout_s], self._loop.time()
        while queue:
            task, end_s = next(iter(queue.items()))
            if end_s > now_s:
                self._loop.call_at(end_s, self._expire, timeout_s)
                return
            del queue[task]
            self._endings.end(task, Ending.DEADLINE)
        self._armed.remove(timeout_s)
