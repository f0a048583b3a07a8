"""Calls that wait until a limit has room for them: in a line for each limit, and in turns with other workers' lines.

Whoever leaves a limit looks whether anyone waits for it, of all workers, and passes its place on: to the next worker in
a ring that has such calls, itself last. Another worker is told by its bell. It lets one call of its own in, if there is
room, and passes on what is left. A worker that waits looks now and then all the same, as a bell may have rung for one
that has died since, or stands still; while none waits, nobody looks.
"""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass

from invoker.call.ending import LeftWaitingError
from invoker.call.priority import most_waiting
from invoker.call.queue import Line
from invoker.routing.limits import Limit
from invoker.routing.places import WAITING, Places

LOOK_S = 0.05


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits. `enter`: whether there is room by now, which it has then. `end`: how its wait ended."""

    limit: Limit
    enter: Callable[[], bool]
    end: "asyncio.Future[WaitEnd]"


class WaitEnd(enum.Enum):
    """By its value, why it was not let in."""

    LET_IN = ""
    TOO_LATE = "queue_timeout"
    SHED = "shed"


class Waiting:
    """All of one worker that wait: at most so many."""

    def __init__(self, loop: asyncio.AbstractEventLoop, places: Places, most: int) -> None:
        self.count = 0
        self._loop = loop
        self._places = places
        self._most = most
        self._lines: dict[int, Line[Waiter]] = {}  # by slot
        self._looks = False
        if places.bell is not None:
            loop.add_reader(places.bell, self._heard)

    def close(self) -> None:
        """The bell is heard no more."""
        if self._places.bell is not None:
            self._loop.remove_reader(self._places.bell)

    def anyone(self, limit: Limit) -> bool:
        """Whether others wait, of any worker, before whom a call that comes now is not to go."""
        return self._places.total(WAITING + limit.slot) > 0

    def join(self, limit: Limit, enter: Callable[[], bool], priority: int = 0) -> Waiter | None:
        """A call waits from now on; `wait` must follow. None if the queue is full, for one of its priority."""
        if not self._has_place(limit, priority) and not (
            self._displace(limit, priority) and self._has_place(limit, priority)
        ):
            return None
        waiter = Waiter(limit, enter, self._loop.create_future())
        self._lines.setdefault(limit.slot, Line()).add(waiter, priority)
        self.count += 1
        if not self._looks:
            self._looks = True
            self._loop.call_later(LOOK_S, self._look)
        self._let_in(limit.slot)  # to what became free before others could see that it waits
        return waiter

    async def wait(self, waiter: Waiter, seconds: float) -> WaitEnd:
        """Until it is let in, or is not to be, for so long at most. `LeftWaitingError` if it is cancelled."""
        timer = self._loop.call_later(seconds, _give_up, waiter)
        try:
            return await waiter.end
        except asyncio.CancelledError:
            raise LeftWaitingError from None
        finally:
            timer.cancel()
            self._remove(waiter)

    def room(self, limit: Limit) -> None:
        """A place of it has become free, here."""
        self._places.fence()
        number = self._places.next_of(WAITING + limit.slot)
        if number is None:
            return
        if self._places.is_own(number):
            self._let_in(limit.slot)
        else:
            self._places.ring(number)

    def _let_in(self, slot: int) -> None:
        """The first in line, and all after it if nobody else waits; else it is another's turn."""
        while (line := self._lines.get(slot)) is not None:
            waiter = line.first()
            if not waiter.end.done():
                if not waiter.enter():
                    return
                waiter.end.set_result(WaitEnd.LET_IN)
            line.take()
            self._note_left(slot)
            number = self._places.next_of(WAITING + slot)
            if number is not None and not self._places.is_own(number):
                self._places.ring(number)
                return

    def _has_place(self, limit: Limit, priority: int) -> bool:
        """Which it has then."""
        most = most_waiting(priority, limit.queue)
        return self.count < self._most and self._places.take(WAITING + limit.slot, most)

    def _displace(self, limit: Limit, priority: int) -> bool:
        """Whether one of a lower priority, of this worker, has left the queue for it."""
        line = self._lines.get(limit.slot)
        waiter = None if line is None else line.last_below(priority)
        if waiter is None:
            return False
        self._remove(waiter)
        if not waiter.end.done():
            waiter.end.set_result(WaitEnd.SHED)
        return True

    def _remove(self, waiter: Waiter) -> None:
        line = self._lines.get(waiter.limit.slot)
        if line is not None and waiter in line:
            line.remove(waiter)
            self._note_left(waiter.limit.slot)

    def _note_left(self, slot: int) -> None:
        if not self._lines[slot]:
            del self._lines[slot]
        self.count -= 1
        self._places.give_back(WAITING + slot)

    def _heard(self) -> None:
        self._places.hear()
        self._let_in_all()

    def _let_in_all(self) -> None:
        for slot in [*self._lines]:
            self._let_in(slot)

    def _look(self) -> None:
        self._looks = bool(self._lines)
        if self._looks:
            self._loop.call_later(LOOK_S, self._look)
            self._let_in_all()


def _give_up(waiter: Waiter) -> None:
    if not waiter.end.done():
        waiter.end.set_result(WaitEnd.TOO_LATE)
