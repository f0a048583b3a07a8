"""One invocation as all formats show it: the row of `GET /metrics/history`, and the store that it is from."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from metrics_sidecar.history.rollups import MINUTE_US
from metrics_sidecar.sqlite.export import Slice
from shared.clock import format_timestamp
from shared.record import (
    MAX_COUNT,
    MAX_ERROR_LOG_BYTES,
    MAX_TIMESTAMP_US,
    Count,
    ErrorWord,
    Record,
    TraceId,
    check_model_id,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_KNOWN_MODELS = 10_000
MAX_LATENCY_MS = 9_223_372_036_854_774.0
"""The last float whose µs `MAX_COUNT` holds; with integers of that size floats are compared slowly."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """`store` and `id` together are what identifies a row, wherever it is copied to.
    The latency is exact up to 2⁵¹ µs, which is 71 years; beyond that it is the nearest float."""

    id: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    model_id: str
    timestamp: Annotated[datetime, Meta(tz=True)]
    success: bool
    latency_ms: Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
    error_log: Annotated[str, Meta(max_length=MAX_ERROR_LOG_BYTES)]
    input_size: Count
    output_size: Count
    error_type: ErrorWord | None
    trace_id: TraceId | None
    store: str


COLUMNS = Line.__struct_fields__


class LineError(Exception):
    """This is no row of an export; the message says what is wrong with it."""


def to_lines(read: Slice, store_id: str) -> list[Line]:
    """Rows as they are read from the store of this id. (In one loop, as there are millions of them; and what rows of
    one minute have in common is found once, as to add to a `datetime` takes as long as all the rest.)"""
    rows, models, _ = read
    lines: list[Line] = []
    minute_us = year = month = day = hour = minute = -1
    for row_id, model, timestamp_us, latency_us, error_type, error_log, input_size, output_size, trace_id in rows:
        if timestamp_us // MINUTE_US * MINUTE_US != minute_us:
            minute_us = timestamp_us // MINUTE_US * MINUTE_US
            year, month, day, hour, minute, *_ = (EPOCH + timedelta(0, minute_us // 1_000_000)).timetuple()
        past_us = timestamp_us - minute_us
        lines.append(
            Line(
                row_id,
                models[model],
                datetime(year, month, day, hour, minute, past_us // 1_000_000, past_us % 1_000_000, UTC),
                error_type is None,
                latency_us / 1000 if latency_us % 1000 else latency_us // 1000,
                error_log or "",
                input_size,
                output_size,
                error_type,
                trace_id,
                store_id,
            )
        )
    return lines


class Records:
    """Makes the records that lines were made of."""

    def __init__(self) -> None:
        self._models: set[str] = set()

    def record(self, line: Line) -> Record:
        """`LineError` for a line that is decoded, and yet says what no record can say."""
        model_id = line.model_id
        if model_id not in self._models:
            self._check_model(model_id)
        if line.success != (line.error_type is None):
            raise LineError("success and error_type contradict each other")
        if line.error_log:
            _check_error_log(line)
        passed = line.timestamp - EPOCH
        timestamp_us = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
        if not 0 <= timestamp_us <= MAX_TIMESTAMP_US:
            last = format_timestamp(MAX_TIMESTAMP_US)
            raise LineError(f"timestamp is {line.timestamp.isoformat()}; allowed: from 1970 on, to {last}")
        if line.latency_ms > MAX_LATENCY_MS:
            raise LineError(f"latency_ms is too large; allowed: up to {MAX_LATENCY_MS:.0f}")
        return Record(
            model_id,
            timestamp_us,
            round(line.latency_ms * 1000),
            line.error_type,
            line.error_log,
            line.input_size,
            line.output_size,
            line.trace_id,
        )

    def _check_model(self, model_id: str) -> None:
        if wrong := check_model_id(model_id):
            raise LineError(f"model_id: {wrong}")
        if len(self._models) >= MAX_KNOWN_MODELS:
            self._models.clear()
        self._models.add(model_id)


def _check_error_log(line: Line) -> None:
    if line.success:
        raise LineError("a success has an error_log")
    if (size := len(line.error_log.encode())) > MAX_ERROR_LOG_BYTES:
        raise LineError(f"error_log has {size:,} bytes; allowed are {MAX_ERROR_LOG_BYTES:,}")
