"""The domain: one call, one record, whatever its end."""

import asyncio
import contextlib
import typing
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

from invoker.call.deadlines import Deadlines
from invoker.call.defects import Defects
from invoker.call.ending import EndedError, Ending, Endings
from invoker.call.in_flight import InFlight
from invoker.call.overhead import Overhead
from invoker.call.retries import try_again
from invoker.call.trace import NO_TRACE, Trace
from invoker.http.pieces import LARGE_BYTES
from invoker.journal.journal import NO_CALL, Begun
from invoker.protocols.base import (
    READ_TIMEOUT_S,
    AnswerReader,
    Call,
    InvalidAnswerError,
    Outcome,
    Protocol,
    ReaderDiedError,
    Result,
)
from invoker.routing.models import Model, Models
from invoker.upstream.port import Answer, BusyError, ConnectError, Upstream, UpstreamError, status_error
from shared.clock import Clock
from shared.record import ErrorType, Record, clip_error_log

HTTP_STATUS = {
    ErrorType.TIMEOUT: 504,
    ErrorType.CONNECT: 502,
    ErrorType.UPSTREAM_STATUS: 502,
    ErrorType.INVALID_RESPONSE: 502,
    ErrorType.OVERLOADED: 429,
    ErrorType.DRAINING: 503,
    ErrorType.GATEWAY_ERROR: 500,
}

_T = typing.TypeVar("_T")


class End(typing.NamedTuple):
    """How a call ended, for its record; and what its caller is told beside that."""

    error_type: ErrorType | None
    error_log: str
    status: int
    headers: bytes = b""


SUCCESS = End(None, "", 200)
CALLER_GONE = End(ErrorType.CLIENT_DISCONNECTED, "the caller closed the connection before the answer", 0)


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
    ) -> None:
        """`durable`: what a reply waits for after its record is appended, if it waits for anything."""
        self.in_flight = InFlight()
        self.overhead = Overhead()
        self.defects = Defects(clock)
        self.draining = False
        self._models = models
        self._upstream = upstream
        self._journal = journal
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._durable = durable
        self._loop = asyncio.get_running_loop()  # kept, because each time it costs the system call getpid
        self._endings = Endings()
        self._deadlines = Deadlines(self._loop, self._endings)
        self._idle = asyncio.Event()

    async def invoke(self, protocol: Protocol, call: Call, trace: Trace | None = None) -> Result:
        """What a call came to, once that is recorded. A cancelled one (its caller is gone) is recorded as such."""
        timestamp_us = self._clock.now_us()
        started_us = sent_us = self._clock.monotonic_us()
        model = self._models.find(call.model_id)
        if model is None:
            raise UnknownModelError(call.model_id)
        trace_id, headers = trace or NO_TRACE
        number, answered_us = NO_CALL, -1
        outcome: Outcome | None = None
        end = SUCCESS
        gone: asyncio.CancelledError | None = None
        try:
            self._admit(call, model)
            number = self._journal.begin(Begun(call.model_id, timestamp_us, call.input_size, trace_id))
            sent_us = self._clock.monotonic_us()
            answer = await self._within(model.timeout_s, call, self._answer(call, model, headers))
            answered_us = self._clock.monotonic_us()
            status, body, fields = answer
            if not 200 <= status < 300:
                raise status_error(status, body, fields)
            reader = protocol.reader(call)
            reader.feed(body)
            outcome = reader.finish() if len(body) <= LARGE_BYTES else await self._finish_large(reader, call)
        except asyncio.CancelledError as error:
            end, gone = CALLER_GONE, error
        except Exception as error:  # noqa: BLE001  # a defect is logged, only not each time
            end = self._failed(error, call, model)
        latency_us = (self._clock.monotonic_us() if answered_us < 0 else answered_us) - started_us
        error_type, error_log, status, reply_headers = end
        output_size = 0 if outcome is None else outcome.output_size
        record = Record(
            call.model_id, timestamp_us, latency_us, error_type, error_log, call.input_size, output_size, trace_id
        )
        self._journal.append(record, number)
        if gone is not None:
            raise gone
        if self._durable is not None:
            await self._durable()
        if answered_us >= 0:
            self.overhead.observe(self._clock.monotonic_us() - started_us - (answered_us - sent_us))
        return Result(status, outcome, error_log, latency_us, reply_headers)

    def _failed(self, error: Exception, call: Call, model: Model) -> End:
        """What a call that ended so is recorded as."""
        headers, status = b"", 0
        error_type, message = ErrorType.GATEWAY_ERROR, f"the gateway failed: {error!r}"
        match error:
            case UpstreamError():
                error_type, message = error.error_type, str(error)
            case EndedError(ending=Ending.DEADLINE):
                error_type, message = ErrorType.TIMEOUT, f"upstream gave no whole answer within {model.timeout_s:g} s"
            case EndedError():
                error_type, message = ErrorType.DRAINING, "the gateway shut down before the upstream answered"
            case InvalidAnswerError():
                error_type, message = ErrorType.INVALID_RESPONSE, f"upstream's answer is not usable: {error}"
            case _:
                self.defects.tell(error, model_id=call.model_id)
        if isinstance(error, BusyError):
            status = error.status
            headers = b"Retry-After: %b\r\n" % error.retry_after if error.retry_after else b""
        return End(error_type, clip_error_log(message), status or HTTP_STATUS[error_type], headers)

    def _admit(self, call: Call, model: Model) -> None:
        if self.draining:
            raise UpstreamError(ErrorType.DRAINING, "the gateway is shutting down")
        if self.in_flight.total >= self._max_in_flight:
            raise UpstreamError(ErrorType.OVERLOADED, f"{self._max_in_flight} calls are in flight, the limit")
        limit = model.max_in_flight
        if limit is not None and self.in_flight.count(call.model_id) >= limit:
            raise UpstreamError(ErrorType.OVERLOADED, f"{limit} calls of this model are in flight, its limit")

    async def _within(self, timeout_s: float, call: Call, step: Awaitable[_T]) -> _T:
        """A step of a call that is in flight, for so long at most; `EndedError` if it is ended by us."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        self.in_flight.enter(call.model_id)
        self._deadlines.add(task, timeout_s)
        try:
            return await step
        except asyncio.CancelledError:
            ending = self._endings.take(task)
            if ending is Ending.CALLER_GONE:
                raise
            raise EndedError(ending) from None
        finally:
            self._deadlines.remove(task, timeout_s)
            self.in_flight.leave(call.model_id)
            if not self.in_flight.total:
                self._idle.set()

    def _answer(self, call: Call, model: Model, headers: bytes) -> Coroutine[None, None, Answer]:
        if not model.retries:
            return self._upstream.post(model.upstream_url, call.body, headers)
        return self._try(partial(self._upstream.post, model.upstream_url, call.body, headers), model)

    async def _try(self, attempt: Callable[[], Coroutine[None, None, Answer]], model: Model) -> Answer:
        try:
            return await attempt()
        except ConnectError as error:
            failed = error
        task = asyncio.current_task(self._loop)
        assert task is not None
        return await try_again(attempt, failed, model.retries, self._deadlines.remaining_s(task, model.timeout_s))

    async def _finish_large(self, reader: AnswerReader, call: Call) -> Outcome:
        """Of a large answer: the call is in flight while it is read."""
        try:
            return await self._within(READ_TIMEOUT_S, call, reader.finish_large())
        except EndedError as error:
            if error.ending is Ending.DEADLINE:
                raise ReaderDiedError("the upstream's answer was not read in time") from None
            raise

    async def drain(self, grace_s: float) -> None:
        """Admit no more calls; give those in flight the grace time, then end and answer them."""
        self.draining = True
        await self._wait_idle(grace_s)
        for task in self._deadlines.tasks():
            self._endings.end(task, Ending.DRAIN)
        await self._wait_idle(1.0)

    async def _wait_idle(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.in_flight.total:
                    self._idle.clear()
                    await self._idle.wait()
