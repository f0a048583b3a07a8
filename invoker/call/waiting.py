"""Calls that wait until a limit has room for them: in a line for each limit, and in turns with other workers' lines.

Whoever leaves a limit looks whether anyone waits for it, of all workers, and passes its place on: to the next worker in
a ring that has such calls, itself last. Another worker is told by its bell. It lets one call of its own in, if there is
room, and passes on what is left. A worker that waits looks now and then all the same, as a bell may have rung for one
that has died since, or stands still; while none waits, nobody looks.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from invoker.call.ending import LeftWaitingError
from invoker.call.queue import Line
from invoker.routing.limits import Limit
from invoker.routing.places import WAITING, Places

LOOK_S = 0.05


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits. `enter`: whether there is room by now, which it has then."""

    limit: Limit
    enter: Callable[[], bool]
    let_in: asyncio.Future[bool]


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

    def join(self, limit: Limit, enter: Callable[[], bool]) -> Waiter | None:
        """A call waits from now on; `wait` must follow. None if the queue is full."""
        if self.count >= self._most or not self._places.take(WAITING + limit.slot, limit.queue):
            return None
        waiter = Waiter(limit, enter, self._loop.create_future())
        self._lines.setdefault(limit.slot, Line()).add(waiter)
        self.count += 1
        if not self._looks:
            self._looks = True
            self._loop.call_later(LOOK_S, self._look)
        self._let_in(limit.slot)  # to what became free before others could see that it waits
        return waiter

    async def wait(self, waiter: Waiter, seconds: float) -> bool:
        """Whether it was let in, within so long; it waits no more then. `LeftWaitingError` if it is cancelled."""
        timer = self._loop.call_later(seconds, _give_up, waiter)
        try:
            return await waiter.let_in
        except asyncio.CancelledError:
            raise LeftWaitingError from None
        finally:
            timer.cancel()
            line = self._lines.get(waiter.limit.slot)
            if line is not None and waiter in line:
                line.remove(waiter)
                self._note_left(waiter.limit.slot)

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
            if not waiter.let_in.done():
                if not waiter.enter():
                    return
                waiter.let_in.set_result(True)
            line.take()
            self._note_left(slot)
            number = self._places.next_of(WAITING + slot)
            if number is not None and not self._places.is_own(number):
                self._places.ring(number)
                return

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
    if not waiter.let_in.done():
        waiter.let_in.set_result(False)
