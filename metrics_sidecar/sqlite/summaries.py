"""What rows add up to, as their rollups have it: asked of SQLite, or of rows that are at hand."""

import itertools
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from metrics_sidecar.history.rollups import MINUTE_US, Group, Row, encode_errors
from metrics_sidecar.history.sketch import sketch
from metrics_sidecar.sqlite.rollups import SUMMARY
from shared.record import MAX_COUNT

InvocationRow = Sequence[Any]
"""At the least the first fields of a row: id, model, timestamp, latency, sizes, type of error."""

_integers = msgspec.json.Decoder(list[int])

_HALVES = "SUM({0} >> 32), SUM({0} & 0xFFFFFFFF)"  # SQLite's own sum would overflow


class Detail(NamedTuple):
    """How much of a `Row` is read: columns of the rollups, what of rows stands for them, and how this becomes one."""

    columns: str
    of_rows: str
    make: Callable[..., Row]


def _counts(minute: int, model: int, count: int, failure_count: int, high: int, low: int) -> Any:
    return minute, model, count - failure_count, failure_count, min((high << 32) + low, MAX_COUNT)


def _latencies(minute: int, model: int, failure_count: int, latencies: str) -> Any:
    values = _integers.decode(latencies)
    latency_us = min(sum(values), MAX_COUNT)
    counts = len(values) - failure_count, failure_count
    return minute, model, *counts, latency_us, min(values), max(values), sketch(values)


def _all(
    minute: int,
    model: int,
    error_types: str | None,
    last_us: int,
    input_high: int,
    input_low: int,
    output_high: int,
    output_low: int,
    latencies: str,
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
        min((input_high << 32) + input_low, MAX_COUNT),
        min((output_high << 32) + output_low, MAX_COUNT),
        encode_errors(errors),
        sketch(values),
    )


COUNTS = Detail(
    "bucket, model, success_count, failure_count, latency_us",
    f"COUNT(*), COUNT(error_type), {_HALVES.format('latency_us')}",
    _counts,
)
"""Only these, and with `LATENCIES` what percentiles need, too: rows are so much shorter."""
LATENCIES = Detail(
    f"{COUNTS.columns}, min_latency_us, max_latency_us, sketch",
    "COUNT(error_type), json_group_array(latency_us)",
    _latencies,
)
FULL = Detail(
    SUMMARY,
    f"""GROUP_CONCAT(error_type), MAX(timestamp_us), {_HALVES.format("input_size")}, {_HALVES.format("output_size")},
    json_group_array(latency_us)""",
    _all,
)


def summarize(
    connection: sqlite3.Connection,
    where: str,
    arguments: Sequence[int | str],
    detail: Detail,
    model: str,
    minute: str,
) -> Iterator[Row]:
    """What these rows add up to, by minute and model, or what stands for one. Where both are numbers, rows needn't be
    sorted, which takes most of the time."""
    grouping = "HAVING COUNT(*)" if minute.isdigit() and model.isdigit() else "GROUP BY 1, 2"
    query = f"SELECT {minute}, {model}, {detail.of_rows} FROM invocations WHERE {where} {grouping}"
    return itertools.starmap(detail.make, connection.execute(query, arguments))


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
    _, _, timestamps, latencies, input_sizes, output_sizes, error_types, *_ = zip(*rows, strict=True)
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
        min(sum(input_sizes), MAX_COUNT),
        min(sum(output_sizes), MAX_COUNT),
        errors,
        sketch(latencies),
    )
