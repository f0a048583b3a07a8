"""Which calls may go on: not beyond what this worker can hold, nor what a table's upstreams may be asked at a time."""

from collections import Counter
from functools import partial
from typing import NoReturn

from invoker.call.adaptive import Adaptive
from invoker.call.course import Course
from invoker.call.ending import LeftWaitingError
from invoker.call.flights import Flight, Flights
from invoker.call.priority import most_in_flight
from invoker.call.waiting import WaitEnd, Waiting
from invoker.routing.limits import Limit
from invoker.routing.models import Models
from invoker.routing.places import Places
from invoker.upstream.port import UpstreamError
from shared.clock import Clock
from shared.record import ErrorType

WAITING_PART = 0.5
"""Of the calls that a worker may have, so many may wait: those of other models are to have room."""
OF_THE_WORKER = "INVOKER_MAX_IN_FLIGHT"


class Admission:
    """Of one worker, which may have so many calls. `limited`: how many were refused, by limit and reason."""

    def __init__(self, flights: Flights, places: Places, clock: Clock, max_in_flight: int) -> None:
        self.draining = False
        self.limited: Counter[tuple[str, str]] = Counter()
        self.waiting = Waiting(flights.loop, places, max(round(max_in_flight * WAITING_PART), 1))
        self._adaptive = Adaptive(flights.loop, places, clock)
        self._in_flight = flights.counts
        self._places = places
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._limits: dict[int, Limit] = {}

    def swap(self, models: Models) -> None:
        """From now on these limits hold, also for calls that wait."""
        models.count_with(self._places)
        self._limits = {limit.slot: limit for _, limit in models.limits()}

    def admit(self, course: Course) -> None:
        """A call that is to begin now, or `UpstreamError`: then no upstream was asked, and none is to blame. If it has
        a `waiter` by then, `wait` must follow before it begins; and `leave`, however it ends. Each model that a call
        goes to is admitted by itself, those that take another's place, too."""
        if self.draining and course.due is None:
            raise UpstreamError(ErrorType.DRAINING, "the gateway is shutting down")
        if self._in_flight.total >= self._max_in_flight:
            self._refuse(OF_THE_WORKER, "limit", f"{self._max_in_flight} calls are in flight, the limit")
        if (limit := course.model.limit) is not None:
            self._take(course, limit)

    async def wait(self, course: Course, flight: Flight) -> None:
        """Until there is room for it. `UpstreamError` if there is none in time."""
        waiter, limit = course.waiter, course.model.limit
        if waiter is None or limit is None:
            return
        began_us = self._clock.monotonic_us()
        try:
            end = await self.waiting.wait(waiter, limit.queue_timeout_s)
        except LeftWaitingError:
            if flight.remaining_s <= 0:
                self.limited[limit.name, "queue_timeout"] += 1
            raise
        finally:
            now_us = course.attempts.began_us = self._clock.monotonic_us()
            course.answered.queue_us = (course.answered.queue_us or 0) + now_us - began_us
        if end is WaitEnd.TOO_LATE:
            message = f"there was no room for one more call of this model within {limit.queue_timeout_s:g} s"
            self._refuse(limit.name, end.value, message)
        if end is WaitEnd.SHED:
            self._refuse(limit.name, end.value, f"{_full(limit)}, and one of higher priority waits in its place")

    def leave(self, course: Course, error_type: str | None) -> None:
        """What it had is another's; it has ended so. Idempotent."""
        place, course.place = course.place, None
        if place is not None:
            if place.adaptive:
                self._adaptive.note(course, place, error_type)
            place.leave()
            if place.queue:
                self.waiting.room(place)

    def _take(self, course: Course, limit: Limit) -> None:
        if not limit.queue:
            if not self._enter(course, limit):
                self._refuse_one(course, limit, "limit", _full(limit))
            return
        course.answered.queue_us = course.answered.queue_us or 0
        if not self.waiting.anyone(limit) and self._enter(course, limit):
            return
        if course.due is not None:
            self._refuse(limit.name, "limit", _full(limit))  # as the next model is not to wait for this one
        course.waiter = self.waiting.join(limit, partial(self._enter, course, limit), course.call.priority)
        if course.waiter is None and not self._enter(course, limit):  # a bell may be ringing for the room that there is
            self._refuse_one(course, limit, "queue_full", f"{_full(limit)}, and its queue is full")

    def _enter(self, course: Course, limit: Limit) -> bool:
        """By the limit as it is now, at an upstream that has room, too."""
        limit = self._limits.get(limit.slot, limit)
        priority = course.call.priority
        if not limit.take(most_in_flight(priority, limit.most) if priority < 0 else None):
            return False
        if course.model.group.limited and not course.attempts.reserve():
            limit.leave()
            return False
        course.place = limit
        return True

    def _refuse_one(self, course: Course, limit: Limit, reason: str, message: str) -> NoReturn:
        """For want of room for it, or for one of its priority."""
        if course.call.priority < 0 and (limit.has_room or limit.waiting < limit.queue):
            self._refuse(
                limit.name, WaitEnd.SHED.value, "what room there is for calls of this model is not for low priority"
            )
        self._refuse(limit.name, reason, message)

    def _refuse(self, limit: str, reason: str, message: str) -> NoReturn:
        self.limited[limit, reason] += 1
        raise UpstreamError(ErrorType.OVERLOADED, message)


def _full(limit: Limit) -> str:
    if limit.max_in_flight is None:
        return "each upstream of this model has as many calls as it may"
    return f"{limit.most} calls of this model are in flight, its limit"
