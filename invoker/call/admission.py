"""Which calls may go on: not beyond what this worker can hold, nor what a table's upstreams may be asked at a time."""

from invoker.call.course import Course
from invoker.call.in_flight import InFlight
from invoker.upstream.port import UpstreamError
from shared.record import ErrorType


class Admission:
    """Of one worker, which has these calls in flight, and at most so many."""

    def __init__(self, in_flight: InFlight, max_in_flight: int) -> None:
        self.draining = False
        self._in_flight = in_flight
        self._max_in_flight = max_in_flight

    def admit(self, course: Course) -> None:
        """A call that is to begin now, or `UpstreamError`: then no upstream was asked, and none is to blame. `leave`
        must follow, however it ends."""
        if self.draining:
            raise UpstreamError(ErrorType.DRAINING, "the gateway is shutting down")
        if self._in_flight.total >= self._max_in_flight:
            raise UpstreamError(ErrorType.OVERLOADED, f"{self._max_in_flight} calls are in flight, the limit")
        limit = course.model.limit
        if limit is not None:
            if not limit.take():
                message = f"{limit.max_in_flight} calls of this model are in flight, its limit"
                raise UpstreamError(ErrorType.OVERLOADED, message)
            course.place = limit

    def leave(self, course: Course) -> None:
        """Its place is another's. Idempotent."""
        place, course.place = course.place, None
        if place is not None:
            place.leave()
