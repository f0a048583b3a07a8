"""What rows and rollups say was used, counted once more, to be compared with the totals."""

import sqlite3
from collections.abc import Iterator, Sequence

from metrics_sidecar.ledger.usage import SPREADS, SUMS, USAGE_MISSING, USAGE_NAMES, Spread, bounded
from metrics_sidecar.sqlite.buckets import SKETCHES, Segment
from metrics_sidecar.sqlite.rollups import Table
from metrics_sidecar.sqlite.sketch import merge
from metrics_sidecar.sqlite.summaries import USAGE_IS_MISSING
from shared.record import COUNTED

_FIELDS = (*COUNTED, *(spread.field for spread in SPREADS))


def _halves(column: str) -> str:
    """A sum in two halves: SQLite's own would overflow."""
    return f"COALESCE(SUM({column} >> 32), 0), COALESCE(SUM({column} & 0xFFFFFFFF), 0)"


def _bucket(spread: Spread) -> str:
    cases = [f"WHEN {spread.field} <= {bound_us} THEN {at}" for at, bound_us in enumerate(spread.bounds_us)]
    return f"CASE WHEN {spread.field} IS NULL THEN NULL {' '.join(cases)} ELSE {len(cases)} END"


_BY_BUCKETS = ", ".join(str(column) for column in range(4, 4 + len(SPREADS)))

# Most rows have none of it. The `+` keeps it from using an index.
_OF_ROWS = f"""
SELECT model, SUM({USAGE_IS_MISSING}), COUNT(*), {", ".join(map(_bucket, SPREADS))}, {", ".join(map(_halves, _FIELDS))}
FROM invocations WHERE id BETWEEN ? AND ? AND +model > ? AND +model <= ?
    AND (COALESCE({", ".join(_FIELDS)}) IS NOT NULL OR {USAGE_IS_MISSING})
GROUP BY 1, {_BY_BUCKETS}
"""
_OF_ROLLUPS = f"""
SELECT model, SUM({USAGE_MISSING}), {", ".join(map(_halves, COUNTED))} FROM {{table.name}}
WHERE {{within}} AND model > :after AND model <= :last AND ({" OR ".join(SUMS)}) GROUP BY model
"""


def count_used_rows(connection: sqlite3.Connection, ids: tuple[int, int], models: tuple[int, int]) -> Iterator[
    tuple[int, list[int]]
]:  # fmt: skip
    """Number of a model and what some of its rows, from the one id to the other, have used, as `USAGE_NAMES`; of models
    beyond the one number and up to the other."""
    for model, missing, count, *columns in connection.execute(_OF_ROWS, (*ids, *models)):
        buckets, sums = columns[: len(SPREADS)], _whole(_FIELDS, columns[len(SPREADS) :])
        usage = dict.fromkeys(USAGE_NAMES, 0) | sums | {USAGE_MISSING: missing}
        for spread, bucket in zip(SPREADS, buckets, strict=True):
            if bucket is not None:
                usage[spread.names[1 + bucket]] = count
        yield model, bounded([*usage.values()])


def count_used_rollups(
    connection: sqlite3.Connection, segment: Segment, after: int, last: int
) -> Iterator[tuple[int, list[int]]]:
    """The same of buckets. How times were spread over a histogram they don't have: all are in its last bucket."""
    table = Table(segment.level)
    bounds = {**table.bounds(segment), "after": max(after, 0), "last": last}
    for model, missing, *columns in connection.execute(_OF_ROLLUPS.format(table=table, within=table.within()), bounds):
        usage = dict.fromkeys(USAGE_NAMES, 0) | _whole(COUNTED, columns) | {USAGE_MISSING: missing}
        yield model, bounded([*usage.values()])
    for spread in SPREADS:
        column = SKETCHES[spread.field]
        query = f"""SELECT model, {column} FROM {table.name}
        WHERE {table.within()} AND model > :after AND model <= :last AND {column} IS NOT NULL"""
        for model, sketch in connection.execute(query, bounds):
            usage = dict.fromkeys(USAGE_NAMES, 0) | {spread.names[-1]: sum(merge([sketch]).counts)}
            yield model, [*usage.values()]


def _whole(names: Sequence[str], halves: Sequence[int]) -> dict[str, int]:
    return {name: (halves[2 * at] << 32) + halves[2 * at + 1] for at, name in enumerate(names)}
