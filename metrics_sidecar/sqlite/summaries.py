"""What rows add up to, as their rollups have it: asked of SQLite, or of rows that are at hand."""

import itertools
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from metrics_sidecar.history.rollups import ADDED_UP, MINUTE_US, Group, Row, encode_errors
from metrics_sidecar.history.sketch import sketch
from shared.record import MAX_COUNT

ROLLED_UP = ("id", "model", "timestamp_us", "latency_us", *ADDED_UP, "error_type")
"""What of a row goes into its rollups."""

InvocationRow = Sequence[Any]
"""In the order of `ROLLED_UP`."""

_integers = msgspec.json.Decoder(list[int])

_HALVES = "SUM({0} >> 32), SUM({0} & 0xFFFFFFFF)"  # SQLite's own sum would overflow
_SUMMARIZE = f"""
SELECT timestamp_us / {MINUTE_US}, {{model}}, GROUP_CONCAT(error_type), MAX(timestamp_us),
    json_group_array(latency_us), {", ".join(map(_HALVES.format, ADDED_UP))}
FROM invocations WHERE {{where}} GROUP BY 1, 2
"""


def summarize(
    connection: sqlite3.Connection, where: str, arguments: Sequence[int | str], model: str = "model"
) -> Iterator[Row]:
    """What these rows add up to, by minute and model, or what stands for one."""
    return itertools.starmap(_row, connection.execute(_SUMMARIZE.format(model=model, where=where), arguments))


def _row(
    minute: int,
    model: int,
    error_types: str | None,
    last_us: int,
    latencies: str,
    *halves: int | None,
) -> Row:
    values = _integers.decode(latencies)
    errors = Counter(error_types.split(",")) if error_types else {}
    failure_count = sum(errors.values())
    return (
        minute,
        model,
        len(values) - failure_count,
        failure_count,
        min(sum(values), MAX_COUNT),
        min(values),
        max(values),
        last_us,
        *(
            min(((high or 0) << 32) + (low or 0), MAX_COUNT)
            for high, low in zip(halves[::2], halves[1::2], strict=True)
        ),
        encode_errors(errors),
        sketch(values),
    )


def summarize_rows(rows: Sequence[InvocationRow]) -> list[Row]:
    """The same for rows of one model that are at hand, at least one; one for each minute."""
    timestamps = [row[2] for row in rows]
    minute, model = min(timestamps) // MINUTE_US, rows[0][1]
    if max(timestamps) // MINUTE_US == minute:
        return [_summary((minute, model), rows)]
    minutes: dict[int, list[InvocationRow]] = defaultdict(list)
    for row in rows:
        minutes[row[2] // MINUTE_US].append(row)
    return [_summary((minute, model), members) for minute, members in minutes.items()]


def _summary(group: Group, rows: Sequence[InvocationRow]) -> Row:
    _, _, timestamps, latencies, *added_up, error_types = zip(*rows, strict=True)
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
        *(min(sum(filter(None, values)), MAX_COUNT) for values in added_up),  # some have none
        errors,
        sketch(latencies),
    )
