"""What is known of a call when it is sent upstream, and what its record is in the end."""

import msgspec

from shared.record import ErrorType, ModelId, Record, RequestId, TraceId


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """What a begin mark holds of its call, so that it can be accounted for if its worker dies."""

    model_id: ModelId
    timestamp_us: int
    input_size: int
    trace_id: TraceId | None = None
    request_id: RequestId | None = None

    def ended(self, latency_us: int, error_type: ErrorType | None, error_log: str, output_size: int = 0) -> Record:
        """The record of its call."""
        return Record(
            self.model_id,
            self.timestamp_us,
            latency_us,
            error_type,
            error_log,
            self.input_size,
            output_size,
            self.trace_id,
            self.request_id,
        )
