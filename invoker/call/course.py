"""One call on its way: what is known when it begins, and what becomes of it."""

import msgspec

from invoker.call.attempts import Attempts
from invoker.call.fallback import Other, Turns, served_by_line
from invoker.call.holding import HeldSink
from invoker.call.streaming import Sink
from invoker.call.waiting import Waiter
from invoker.http.pieces import Body
from invoker.journal.begun import Answered, Begun
from invoker.journal.journal import NO_CALL
from invoker.protocols.base import Call, Outcome, Protocol, StreamReader, Usage
from invoker.routing.limits import Limit
from invoker.routing.models import Model
from invoker.routing.prices import cost_nano_usd
from invoker.upstream.port import Exchange
from shared.record import ErrorType, Record


class Course(msgspec.Struct):
    """A call at one model, which others may follow, see `call.fallback`. `exchange`: the last one; `body`: what goes on
    to the caller of an answer that is here, as it came; `place`: what it counts in, and `waiter`: as what it waits for
    that, see `call.admission`. `turns`: what may follow; then `held` is where a stream goes; `due`: when the time of a
    call is over that follows another."""

    protocol: Protocol
    call: Call
    model: Model
    sink: Sink | None
    id_line: bytes
    begun: Begun
    started_us: int
    answered: Answered
    attempts: Attempts
    number: int = NO_CALL
    sent_us: int = -1
    answered_us: int = -1
    exchange: Exchange | None = None
    stream: StreamReader | None = None
    outcome: Outcome | None = None
    body: Body | None = None
    place: Limit | None = None
    waiter: Waiter | None = None
    turns: Turns | None = None
    due: float | None = None
    held: HeldSink | None = None

    @property
    def has_passed(self) -> bool:
        """Whether its caller has some of its answer."""
        return self.held is not None and self.held.passed

    def followed_by(self, other: Other, asked: "Course", due: float) -> "Course":
        """The same call at another model, after this one has failed."""
        call = msgspec.structs.replace(asked.call, model_id=other.model_id)
        model = msgspec.structs.replace(other.model, timeout_s=asked.model.timeout_s)
        answered = Answered(attempts=self.answered.attempts, queue_us=self.answered.queue_us)
        before = asked.attempts
        given = (asked.protocol, model, call, before.headers, answered, before.asking, before.retries)
        attempts = Attempts(before.upstream, before.clock, *given, began_us=before.clock.monotonic_us(), renames=True)
        id_line = asked.id_line + served_by_line(other.model_id)
        return Course(
            *(asked.protocol, call, model, asked.sink, id_line, asked.begun, asked.started_us, answered, attempts),
            *(self.number, self.sent_us),
            turns=asked.turns,
            due=due,
        )

    def take_place_of(self, model_id: str) -> None:
        """What the call came to is this one's, and not the model's that was asked for."""
        self.begun = msgspec.structs.replace(self.begun, model_id=self.call.model_id)
        self.answered.fallback_from = model_id

    def go_on_from(self, last: "Course") -> None:
        """The call ends as this one's, now that another has failed, too."""
        if last is not self:
            self.number, self.sent_us, self.answered_us = last.number, last.sent_us, -1
            self.answered.attempts, self.answered.queue_us = last.answered.attempts, last.answered.queue_us

    def record(self, latency_us: int, error_type: ErrorType | None, error_log: str) -> Record:
        """Of the call, which has ended so."""
        begun, answered, stream, outcome = self.begun, self.answered, self.stream, self.outcome
        if stream is not None:
            if not begun.streamed:
                begun = msgspec.structs.replace(begun, streamed=True)
            answered.output_size = stream.size
            self._note_usage(stream.usage, success=error_type is None)
            _note_output(answered, stream, self.started_us)
        elif outcome is not None:
            answered.output_size = outcome.output_size
            self._note_usage(outcome.usage, success=error_type is None)
        return begun.ended(latency_us, error_type, error_log, answered)

    def _note_usage(self, usage: Usage | None, *, success: bool) -> None:
        answered, prices = self.answered, self.model.prices
        if usage is not None:
            answered.input_tokens = usage.input_tokens
            answered.cached_input_tokens = usage.cached_input_tokens
            answered.output_tokens = usage.output_tokens
            answered.reasoning_tokens = usage.reasoning_tokens
        if prices is not None:
            answered.cost_nano_usd = cost_nano_usd(prices, usage, success=success)


def _note_output(answered: Answered, stream: StreamReader, started_us: int) -> None:
    """When a stream's output came; of each token, to the nearest µs."""
    first_us, last_us = stream.first_output_us, stream.last_output_us
    if first_us is None or last_us is None:
        return
    answered.time_to_first_token_us = first_us - started_us
    further = (answered.output_tokens or 0) - 1
    if further > 0:
        answered.time_per_output_token_us = (2 * (last_us - first_us) + further) // (2 * further)
