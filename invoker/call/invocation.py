"""The domain: one call, one record, whatever its end."""

import asyncio
import typing
from collections.abc import Awaitable, Callable

from invoker.call.admission import Admission
from invoker.call.answers import Answers
from invoker.call.asking import REFUSED, Asking
from invoker.call.attempts import Attempts
from invoker.call.course import Course
from invoker.call.defects import Defects
from invoker.call.ending import Ending
from invoker.call.fallback import Turns, others_of
from invoker.call.flights import Flight, Flights, FurtherFlight
from invoker.call.retries import Retries
from invoker.call.stream_timer import StreamTimer
from invoker.call.streaming import Sink
from invoker.call.verdict import CALLER_GONE, OF_NO_MODEL, SUCCESS, End, end_of
from invoker.http.passing import answer_lines
from invoker.http.pieces import Body
from invoker.http.request_id import request_id_line
from invoker.http.trace import NO_TRACE, Trace
from invoker.journal.begun import Answered, Begun
from invoker.journal.journal import NO_CALL
from invoker.protocols.base import Call, Outcome, Protocol, Result
from invoker.routing.models import Models
from invoker.routing.places import Places, Tallies
from invoker.routing.tally import Spread
from invoker.routing.upstream_sums import UpstreamSums
from invoker.upstream.port import Exchange, Upstream, status_error
from shared.clock import Clock
from shared.record import Record
from shared.wire import OVERHEAD_BOUNDS_S


class Recorder(typing.Protocol):
    """Where records go. Neither method blocks or raises."""

    def begin(self, begun: Begun) -> int:
        """Mark a call as sent upstream; its number, for `append`."""
        ...

    def append(self, record: Record, call: int = NO_CALL) -> None:
        """Keep the record of a call that ended. When this returns, it outlives the process."""
        ...


class UnknownModelError(Exception):
    """No upstream is configured for this model: the request is refused and no invocation."""


class Invoker:
    """Makes the calls of one worker. Each `invoke` appends exactly one record before it returns or is
    cancelled, except when it raises `UnknownModelError`."""

    def __init__(
        self,
        models: Models,
        upstream: Upstream,
        journal: Recorder,
        clock: Clock,
        max_in_flight: int,
        durable: Callable[[], Awaitable[None]] | None = None,
        places: Places | None = None,
    ) -> None:
        """`durable`: what a reply waits for after its record is appended, if it waits for anything. `places`: what
        limits are counted with; none of who has no other workers beside it."""
        self.flights = Flights()
        self.in_flight = self.flights.counts
        self.overhead = Spread(OVERHEAD_BOUNDS_S)
        self.retries = Retries()
        self.upstreams = UpstreamSums()
        self.upstreams.follow(models)
        self.defects = Defects(clock)
        self.admission = Admission(self.flights, places or Tallies(1).of(0), clock, max_in_flight)
        self.admission.swap(models)
        self.models = models
        self._upstream = upstream
        self._asking = Asking()
        self._journal = journal
        self._clock = clock
        self._durable = durable
        self._answers = Answers(self.flights, clock)

    def swap(self, models: Models) -> None:
        """From now on, calls go by these; those in flight by what they began with."""
        self.admission.swap(models)
        models.carry_over(self.models)
        self.upstreams.follow(models)
        self.models = models

    async def invoke(
        self, protocol: Protocol, call: Call, trace: Trace | None, request_id: str, sink: Sink | None = None
    ) -> Result:
        """What a call came to, once that is recorded. A cancelled one (its caller is gone) is recorded as such. Of a
        stream, the sink gets all but how it ends."""
        timestamp_us, started_us = self._clock.now_us(), self._clock.monotonic_us()
        id_line = request_id_line(request_id)
        model = self.models.find(call.model_id, protocol.name)
        if model is None:
            raise UnknownModelError(call.model_id)
        trace_id, headers = trace or NO_TRACE
        headers = call.headers + headers + id_line
        begun = Begun(
            *(call.model_id, timestamp_us, call.input_size, trace_id, request_id),
            *(protocol.name, call.operation, call.streamed, call.tags),
        )
        answered = Answered(attempts=0)
        given = (protocol, model, call, headers, answered, self._asking, self.retries)
        attempts = Attempts(self._upstream, self._clock, *given)
        course = Course(protocol, call, model, sink, id_line, begun, started_us, answered, attempts)
        if model.fallback and call.falls_back:
            due = self.flights.loop.time() + model.timeout_s
            course.turns = Turns(others_of(self.models, model, call, protocol.name), due)
        end, gone = await self._run(course)
        if course.turns is not None and end.for_another and not course.has_passed:
            course, end, gone = await self._fall_back(course, course.turns, end)
        answered_us = course.answered_us
        latency_us = (self._clock.monotonic_us() if answered_us < 0 else answered_us) - started_us
        self._journal.append(course.record(latency_us, end.error_type, end.error_log), course.number)
        if gone is not None:
            raise gone
        if self._durable is not None:
            await self._durable()
        if answered_us >= 0:
            self.overhead.observe(self._clock.monotonic_us() - started_us - (answered_us - course.sent_us))
        if protocol.passes and course.exchange is not None and course.body is not None:
            return _passed_on(course, course.exchange, course.body, end, latency_us)
        of_events = course.stream is None or course.stream.of_events
        headers = end.headers + course.id_line
        return Result(end.status, course.outcome, end.error_log, latency_us, headers, of_events=of_events)

    async def _run(self, course: Course) -> tuple[End, asyncio.CancelledError | None]:
        """How it ended with one model, whose part in it is over then; the error if it was cancelled."""
        end, gone = SUCCESS, None
        try:
            self.admission.admit(course)
            if course.sent_us < 0:
                course.number = self._journal.begin(course.begun)
                course.sent_us = course.attempts.began_us = self._clock.monotonic_us()
            with self._flight(course) as flight:
                if course.waiter is not None:
                    await self.admission.wait(course, flight)
                timer = None
                if course.model.first_token_s is not None or course.model.idle_s is not None:
                    timer = StreamTimer(self.flights, course.model, streamed=course.call.streamed)
                try:
                    exchange, body = await course.attempts.open(flight), None
                    course.attempts.note_head()
                    if course.attempts.asks_usage and exchange.status in REFUSED:
                        exchange, body = await course.attempts.open_unasked(exchange)
                    course.exchange, course.answered.status_code = exchange, exchange.status
                    if body is None:
                        body = await self._answers.body(course, exchange, timer)
                finally:
                    if timer is not None:
                        timer.close()
            course.answered_us, course.body = self._clock.monotonic_us(), body
            if course.stream is not None:
                course.stream.check()
            elif 200 <= exchange.status < 300:
                course.outcome = await self._answers.outcome(course.protocol, course.call, exchange, body)
            else:
                raise status_error(exchange.status, body, exchange.headers)
        except asyncio.CancelledError as error:
            end, gone = CALLER_GONE, error
        except Exception as error:  # noqa: BLE001  # a defect is logged, only not each time
            end = end_of(error, course, self.defects)
        course.attempts.end(end.error_type, end.error_log, course.exchange)
        if course.place is not None:
            self.admission.leave(course, end.error_type)
        return end, gone

    def _flight(self, course: Course) -> Flight:
        model_id, timeout_s = course.call.model_id, course.model.timeout_s
        if course.due is None:
            return Flight(self.flights, model_id, timeout_s)
        return FurtherFlight(self.flights, model_id, timeout_s, course.due)

    async def _fall_back(
        self, asked: Course, turns: Turns, end: End
    ) -> tuple[Course, End, asyncio.CancelledError | None]:
        """To the models that may take the place of one that has failed so: what the call came to. It is the asked one's
        error if none of them has brought any of an answer."""
        last, gone = asked, None
        for other in turns.others:
            if turns.due <= self.flights.loop.time():
                break
            if asyncio.current_task(self.flights.loop).cancelling():  # type: ignore[union-attr]  # there is one
                end, gone = CALLER_GONE, asyncio.CancelledError()
                break
            last = last.followed_by(other, asked, turns.due)
            how, gone = await self._run(last)
            if how.error_type is None or last.has_passed:
                last.take_place_of(asked.call.model_id)
                return last, how, gone
            if how.error_type in OF_NO_MODEL:
                end = how
                asked.answered.upstream, asked.answered.status_code = last.answered.upstream, last.answered.status_code
            if not how.for_another:
                break
        asked.go_on_from(last)
        return asked, end, gone

    async def drain(self, grace_s: float) -> None:
        """Admit no more calls; give those in flight the grace time, then end and answer them."""
        self.admission.draining = True
        await self.flights.wait_idle(grace_s)
        self.flights.end_all(Ending.DRAIN)
        await self.flights.wait_idle(1.0)


def _passed_on(course: Course, exchange: Exchange, body: Body, end: End, latency_us: int) -> Result:
    """An upstream's whole answer as it came, whether or not it counts as a success; only of an error, which may say
    what was asked, its own key is left out."""
    if end.error_type is not None and (own := course.attempts.credentials) is not None:
        body = own.left_out_of_body(body)
    fields = exchange.headers
    media_type = fields.get(b"content-type", b"application/octet-stream")
    headers = answer_lines(fields) + course.id_line
    return Result(exchange.status, Outcome(body, len(body)), end.error_log, latency_us, headers, media_type)
