"""Adaptive limits of one worker: what its calls tell of them, for all workers to see."""

import asyncio

from invoker.call.course import Course
from invoker.routing.adapting import START, Adapting, agreed, is_probing, told
from invoker.routing.limits import Limit
from invoker.routing.places import ADAPTED, Places
from invoker.upstream.port import BUSY
from shared.clock import Clock
from shared.record import ErrorType

SILENT_WINDOWS = 3
"""A worker without calls for so long has no say any more."""


class Adaptive:
    """By the places where limits are counted. What holds is the mean of what the workers hold for right."""

    def __init__(self, loop: asyncio.AbstractEventLoop, places: Places, clock: Clock) -> None:
        self._loop = loop
        self._places = places
        self._clock = clock
        self._known: dict[int, Adapting] = {}
        self._silent: dict[int, asyncio.TimerHandle] = {}

    def note(self, course: Course, limit: Limit, error_type: str | None) -> None:
        """How a call of it has ended, which counts still."""
        now_us = self._clock.monotonic_us()
        refused = error_type == ErrorType.TIMEOUT or (course.exchange is not None and course.exchange.status in BUSY)
        if error_type is not None and not refused:
            return
        adapting = self._known.setdefault(limit.slot, Adapting(float(min(START, limit.max_in_flight or START))))
        column = ADAPTED + limit.slot
        if found := self._places.numbers(column):
            adapting.limit = agreed(found)
        ended_us = now_us
        if course.stream is not None and course.stream.first_output_us is not None:
            ended_us = course.stream.first_output_us
        taken_us = max(ended_us - course.attempts.began_us, 0)
        bounds = limit.min_in_flight, limit.max_in_flight or START
        if adapting.observe(now_us - taken_us, now_us, limit.in_flight, *bounds, refused=refused):
            self._tell(column, adapting, now_us)

    def _tell(self, column: int, adapting: Adapting, now_us: int) -> None:
        self._places.put(column, told(adapting.limit, probing=is_probing(now_us, adapting.length_us)))
        if (timer := self._silent.get(column)) is not None:
            timer.cancel()
        seconds = SILENT_WINDOWS * adapting.length_us / 1_000_000
        self._silent[column] = self._loop.call_later(seconds, self._places.put, column, 0)
