"""Connections whose caller has all that it wants of an answer, and whose answer's end is still to come: most model
servers send a stream's last chunk apart from its last event, a moment later. Then the connection is for others."""

import asyncio
from collections.abc import Callable, Mapping

from invoker.http.answer_parser import UnusableError
from invoker.upstream.exchange import Line

WAIT_S = 1.0
MAX_REST_BYTES = 4096
"""What hasn't ended in that time, or within so many bytes, is closed."""


class Rest:
    """Takes the place of an exchange that nobody waits for any more, until its connection tells that it is at its
    end."""

    __slots__ = ("_bytes", "_done", "line", "status", "until_s")

    def __init__(self, line: Line, until_s: float, done: "Callable[[Rest], None]") -> None:
        self.status = 200  # its head has come
        self.line = line
        self.until_s = until_s
        self._done = done
        self._bytes = 0

    def answered(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        """Known already."""

    def feed(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes > MAX_REST_BYTES:
            self.line.close()
            self._done(self)

    def end(self, _error: UnusableError | None = None) -> None:
        self._done(self)


class Leaving:
    """All of them. `reserve` gives room for one more, if there is some, and `free` takes it back. Belongs to the
    running event loop."""

    def __init__(self, reserve: Callable[[], bool], free: Callable[[], None], wait_s: float = WAIT_S) -> None:
        self._reserve = reserve
        self._free = free
        self._wait_s = wait_s
        self._rests: dict[Rest, None] = {}  # the first to be closed is first
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, line: Line) -> Rest | None:
        """What its connection tells of the rest; None if it is to be closed, as there is no room."""
        if not self._reserve():
            return None
        rest = Rest(line, self._loop.time() + self._wait_s, self._remove)
        self._rests[rest] = None
        if self._timer is None:
            self._timer = self._loop.call_at(rest.until_s, self._expire)
        return rest

    def close(self) -> None:
        """All of them."""
        for rest in [*self._rests]:
            self._give_up(rest)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._rests:
            rest = next(iter(self._rests))
            if rest.until_s > now_s:
                self._timer = self._loop.call_at(rest.until_s, self._expire)
                return
            self._give_up(rest)

    def _give_up(self, rest: Rest) -> None:
        rest.line.close()
        self._remove(rest)

    def _remove(self, rest: Rest) -> None:
        if rest in self._rests:
            del self._rests[rest]
            self._free()
