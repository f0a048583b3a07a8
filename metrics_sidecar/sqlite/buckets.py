"""What is kept of the invocations of one model in one stretch of time, and how several become one.

Times are in whole minutes since 1970 here, and a stretch is a bucket of one of the LEVELS: a record is counted in
one bucket of each. So any whole minutes are covered by few large buckets, and smaller ones at their ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from metrics_sidecar.history.aggregate import MEASURES, SPREADS
from metrics_sidecar.history.windows import DAY, HOUR
from metrics_sidecar.sqlite.sketch import encode, merge
from shared.record import MAX_COUNT

LEVELS = (1, HOUR, DAY)
"""Lengths of buckets in minutes; each is a multiple of the one before, and all begin at multiples of theirs."""

ALL_MODELS = 0
"""The number that stands for all models together; no model has it."""

Group = tuple[int, int]
"""Bucket and model."""

Numbers = tuple[int, ...]
"""In the order of `MEASURES`."""

Row = tuple[Any, ...]
"""A summary as it is stored, see `COLUMNS`. Errors are msgpack, sketches `sketch.encode`d, None for none."""

SKETCHES = dict(zip(SPREADS, ("sketch", "first_token_sketch", "per_token_sketch", "queue_sketch"), strict=True))
COLUMNS = ("bucket", "model", *MEASURES, "errors", *SKETCHES.values())
OF_NUMBERS = slice(2, 2 + len(MEASURES))
OF_ERRORS = COLUMNS.index("errors")
OF_SKETCHES = {spread: COLUMNS.index(column) for spread, column in SKETCHES.items()}
"""Where these are in a `Row`."""


class Segment(NamedTuple):
    """All buckets of one level that begin from one minute on and before another."""

    level: int
    start: int
    end: int


def cover(start: int, end: int, built: Mapping[int, int], levels: Sequence[int] = LEVELS) -> list[Segment]:
    """The fewest buckets that make up these minutes, in order. `built` says up to which minute a level has
    everything, in a last bucket that is not full yet, too; the first level always has."""
    if start >= end:
        return []
    *smaller, level = levels
    if not smaller:
        return [Segment(level, start, end)]
    low = -(-start // level) * level
    until = built.get(level, 0)
    high = until if until <= end else end // level * level
    if low >= high:
        return cover(start, end, built, smaller)
    return [*cover(start, low, built, smaller), Segment(level, low, high), *cover(high, end, built, smaller)]


def add_up(numbers: Sequence[Numbers]) -> Numbers:
    """All of them together: at least one. Beyond 2⁶³ - 1, which only forged records can reach, sums stay there."""
    success, failure, latency, minimum, maximum, last, *added_up = zip(*numbers, strict=True)
    return (
        sum(success),
        sum(failure),
        min(sum(latency), MAX_COUNT),
        min(minimum),
        max(maximum),
        max(last),
        *(min(sum(values), MAX_COUNT) for values in added_up),
    )


def add_errors(encoded: Iterable[bytes]) -> dict[str, int]:
    """All of them together."""
    errors: dict[str, int] = {}
    for one in encoded:
        for error_type, count in _errors.decode(one).items():
            errors[error_type] = errors.get(error_type, 0) + count
    return errors


def combine(group: Group, rows: Sequence[Row]) -> Row:
    """All of them together, at least one, as that of a group."""
    if len(rows) == 1:
        return (*group, *rows[0][2:])
    return (
        *group,
        *add_up([row[OF_NUMBERS] for row in rows]),
        encode_errors(add_errors(row[OF_ERRORS] for row in rows if row[OF_ERRORS])),
        *(_merged([row[place] for row in rows if row[place]]) for place in OF_SKETCHES.values()),
    )


def _merged(sketches: Sequence[bytes]) -> bytes | None:
    if len(sketches) > 1:
        return encode(merge(sketches))
    return sketches[0] if sketches else None


def encode_errors(errors: Mapping[str, int]) -> bytes | None:
    return msgspec.msgpack.encode(dict(sorted(errors.items()))) if errors else None


_errors = msgspec.msgpack.Decoder(dict[str, int])
