"""What is known of a call when it is sent upstream, and what its record is in the end."""

import msgspec

from shared.record import ErrorType, ModelId, Operation, Protocol, Record, RequestId, Tags, TraceId


class Answered(msgspec.Struct, gc=False):
    """What became known of a call since, as its record says it: noted as it comes, and null where it doesn't."""

    output_size: int = 0
    upstream: str | None = None
    status_code: int | None = None
    attempts: int | None = None
    fallback_from: str | None = None
    time_to_first_token_us: int | None = None
    time_per_output_token_us: int | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_nano_usd: int | None = None
    queue_us: int | None = None


class Begun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a begin mark holds of its call, so that it can be accounted for if its worker dies."""

    model_id: ModelId
    timestamp_us: int
    input_size: int
    trace_id: TraceId | None = None
    request_id: RequestId | None = None
    protocol: Protocol | None = None
    operation: Operation | None = None
    streamed: bool | None = None
    tags: Tags | None = None

    def ended(
        self, latency_us: int, error_type: ErrorType | None, error_log: str, answered: Answered | None = None
    ) -> Record:
        """The record of its call."""
        answered = answered or Answered()
        return Record(
            self.model_id,
            self.timestamp_us,
            latency_us,
            error_type,
            error_log,
            self.input_size,
            answered.output_size,
            self.trace_id,
            self.request_id,
            self.protocol,
            self.operation,
            self.streamed,
            answered.upstream,
            answered.status_code,
            answered.attempts,
            answered.fallback_from,
            answered.time_to_first_token_us,
            answered.time_per_output_token_us,
            answered.input_tokens,
            answered.cached_input_tokens,
            answered.output_tokens,
            answered.reasoning_tokens,
            answered.cost_nano_usd,
            self.tags,
            answered.queue_us,
        )
