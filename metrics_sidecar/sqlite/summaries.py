"""What rows add up to, as their rollups have it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from metrics_sidecar.history.aggregate import ADDED_UP
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.ledger.usage import FIRST_TOKEN, PER_TOKEN, QUEUE, USAGE_MISSING
from metrics_sidecar.sqlite.buckets import Group, Row, encode_errors
from metrics_sidecar.sqlite.sketch import sketch
from shared.record import MAX_COUNT, METERED

ROLLED_UP = (
    *("id", "model", "timestamp_us", "latency_us", "error_type"),
    *ADDED_UP,
    *(USAGE_MISSING, FIRST_TOKEN, PER_TOKEN, QUEUE),
)
"""What of a row goes into its rollups."""

_METERED = ", ".join(f"('{operation}')" for operation in sorted(METERED))
USAGE_IS_MISSING = f"""(error_type IS NULL AND input_tokens IS NULL AND output_tokens IS NULL AND operation IN (
    SELECT number FROM words WHERE word IN (VALUES {_METERED}) UNION ALL VALUES {_METERED})) IS TRUE"""
"""As `Record.usage_missing`, of a row."""
READ_ROLLED_UP = ", ".join(USAGE_IS_MISSING if name == USAGE_MISSING else name for name in ROLLED_UP)
"""Their columns."""

InvocationRow = Sequence[Any]
"""As `ROLLED_UP`."""


def summarize(rows: Iterable[InvocationRow]) -> list[Row]:
    """What these rows add up to, by model and minute."""
    by_model: dict[int, list[InvocationRow]] = defaultdict(list)
    for row in rows:
        by_model[row[1]].append(row)
    return [bucket for some in by_model.values() for bucket in summarize_rows(some)]


def summarize_rows(rows: Sequence[InvocationRow]) -> list[Row]:
    """The same for rows of one model, at least one; one for each minute."""
    timestamps = [row[2] for row in rows]
    minute, model = min(timestamps) // MINUTE_US, rows[0][1]
    if max(timestamps) // MINUTE_US == minute:
        return [_summary((minute, model), rows)]
    minutes: dict[int, list[InvocationRow]] = defaultdict(list)
    for row in rows:
        minutes[row[2] // MINUTE_US].append(row)
    return [_summary((minute, model), members) for minute, members in minutes.items()]


def _summary(group: Group, rows: Sequence[InvocationRow]) -> Row:
    _, _, timestamps, latencies, error_types, *added_up, first_tokens, per_tokens, queues = zip(*rows, strict=True)
    success_count = error_types.count(None)
    errors = None
    if success_count < len(rows):
        errors = encode_errors(Counter(kind for kind in error_types if kind is not None))
    return (
        *group,
        success_count,
        len(rows) - success_count,
        min(sum(latencies), MAX_COUNT),
        min(latencies),
        max(latencies),
        max(timestamps),
        *(0 if values.count(None) == len(values) else _sum(values) for values in added_up),
        errors,
        sketch(latencies),
        _sketch_of_some(first_tokens),
        _sketch_of_some(per_tokens),
        _sketch_of_some(queues),
    )


def _sum(values: Iterable[int | None]) -> int:
    """Some have none."""
    return min(sum(filter(None, values)), MAX_COUNT)


def _sketch_of_some(values_us: tuple[int | None, ...]) -> bytes | None:
    """Most have none."""
    if values_us.count(None) == len(values_us):
        return None
    return sketch([value_us for value_us in values_us if value_us is not None])
