"""Upstream connections that wait for their next call: of an origin's, the one that was used last is used first."""

import asyncio
from collections import deque
from collections.abc import Hashable

from invoker.upstream.connection import Connection
from invoker.upstream.leaving import Leaving
from shared.clock import Clock

KEEPALIVE_US = 4_000_000
"""Shorter than the 5 s after which uvicorn and Node.js close an idle connection: a call must not meet that."""
MAX_IDLE = 2048
"""Of all origins together."""


class IdleConnections:
    """Each is closed when its time is over, and at once beyond the limit, in which those that are `leaving` have their
    room. Belongs to the running event loop."""

    def __init__(self, clock: Clock, keepalive_us: int = KEEPALIVE_US, limit: int = MAX_IDLE) -> None:
        self.count = 0
        self._clock = clock
        self._keepalive_us = keepalive_us
        self._limit = limit
        self._idle: dict[Hashable, deque[Connection]] = {}  # of an origin, the oldest first
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.leaving = Leaving(self._reserve, self._free)

    def take(self, origin: Hashable) -> Connection | None:
        """One that nothing has come on since; `since_us` is then when it was taken."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        now_us = self._clock.monotonic_us()
        while idle:
            connection = idle.pop()
            self.count -= 1
            if connection.since_us > now_us - self._keepalive_us and connection.is_quiet():
                connection.since_us = now_us
                return connection
            connection.close()
        return None

    def keep(self, origin: Hashable, connection: Connection) -> None:
        """Until it is taken; or close it, if it can't be used again."""
        if not connection.reusable or self.count >= self._limit:
            connection.close()
            return
        connection.since_us = self._clock.monotonic_us()
        if connection.idle_us < self._keepalive_us:
            connection.since_us -= self._keepalive_us - connection.idle_us  # as if it had been here for a while
        self._idle.setdefault(origin, deque()).append(connection)
        self.count += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self._keepalive_us / 1e6, self._sweep)

    def _reserve(self) -> bool:
        """For one that isn't idle yet, and may be soon."""
        if self.count >= self._limit:
            return False
        self._limit -= 1
        return True

    def _free(self) -> None:
        self._limit += 1

    def close(self) -> None:
        """All of them, and those that are to come."""
        self.leaving.close()
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
        self.count = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now_us = oldest_us = self._clock.monotonic_us()
        for origin, idle in [*self._idle.items()]:
            while idle and idle[0].since_us <= now_us - self._keepalive_us:
                idle.popleft().close()
                self.count -= 1
            if idle:
                oldest_us = min(oldest_us, idle[0].since_us)
            else:
                del self._idle[origin]
        next_s = (oldest_us + self._keepalive_us - now_us) / 1e6
        self._timer = self._loop.call_later(next_s, self._sweep) if self.count else None
