"""What comes of an answer that has begun: relayed as it comes, or waited for and read."""

from collections.abc import Awaitable

from invoker.call.course import Course
from invoker.call.ending import EndedError, Ending
from invoker.call.flights import Flight, Flights
from invoker.call.holding import HeldSink
from invoker.call.stream_timer import StreamTimer
from invoker.call.streaming import Sink, relay
from invoker.http.pieces import LARGE_BYTES, Body
from invoker.protocols.base import READ_TIMEOUT_S, AnswerReader, Call, Outcome, Protocol, ReaderDiedError, StreamReader
from invoker.upstream.port import Exchange
from shared.clock import Clock


class Answers:
    """Those of the calls of one worker."""

    def __init__(self, flights: Flights, clock: Clock) -> None:
        self._flights = flights
        self._clock = clock

    def body(self, course: Course, exchange: Exchange, timer: StreamTimer | None) -> Awaitable[Body]:
        """Of an answer; of a stream, what is left of that."""
        if course.sink is not None and course.protocol.passes and 200 <= exchange.status < 300:
            hides_usage = course.attempts.asks_usage
            course.stream = course.protocol.stream_reader(exchange.headers, hides_usage=hides_usage)
        if course.sink is not None and (stream := course.stream) is not None:
            if course.turns is not None:
                return self._relay_held(course, course.sink, exchange, stream, timer)
            return relay(exchange, stream, course.sink, course.id_line, self._clock, timer)
        if timer is not None:
            timer.close()
        return exchange.whole()

    async def _relay_held(
        self, course: Course, sink: Sink, exchange: Exchange, stream: StreamReader, timer: StreamTimer | None
    ) -> Body:
        """Likewise, of a call that another model may yet answer."""
        course.held = HeldSink(sink, stream)
        rest = await relay(exchange, stream, course.held, course.id_line, self._clock, timer)
        return course.held.take() + rest

    async def outcome(self, protocol: Protocol, call: Call, exchange: Exchange, body: Body) -> Outcome:
        """Of a success that is here. `InvalidAnswerError`, `ReaderDiedError`."""
        reader = protocol.reader(call, exchange.headers)
        reader.feed(body)
        if len(body) <= LARGE_BYTES:
            return reader.finish()
        try:
            return await self._finish_large(reader, call)
        except EndedError:
            if protocol.passes:  # what it took isn't known then, but it goes on
                return Outcome(body, len(body))
            raise

    async def _finish_large(self, reader: AnswerReader, call: Call) -> Outcome:
        """Of a large answer: the call is in flight while it is read."""
        try:
            with Flight(self._flights, call.model_id, READ_TIMEOUT_S):
                return await reader.finish_large()
        except EndedError as error:
            if error.ending is Ending.DEADLINE:
                raise ReaderDiedError("the upstream's answer was not read in time") from None
            raise
