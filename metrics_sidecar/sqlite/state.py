"""Reads of the ledger's whole state: totals and accounts, without the rows."""

import dataclasses
import sqlite3
import statistics
from collections.abc import Sequence

import msgspec

from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.intake.reported import Counters
from metrics_sidecar.ledger.reckoning import TimeState
from metrics_sidecar.ledger.totals import ModelTotals, merged, without
from metrics_sidecar.ledger.transaction import Producer, State
from metrics_sidecar.ledger.usage import USAGE_NAMES
from metrics_sidecar.sqlite.rollups import read_progress
from metrics_sidecar.sqlite.schema import BUCKET_COLUMNS
from metrics_sidecar.sqlite.unread import count_unread
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID

SUMMED_COLUMNS = ("success_count", "failure_count", "latency_us", *BUCKET_COLUMNS)
TOTAL_COLUMNS = (
    "success_count",
    "failure_count",
    "latency_us",
    "min_latency_us",
    "max_latency_us",
    "last_timestamp_us",
    *BUCKET_COLUMNS,
)

ACCOUNT_COLUMNS = tuple(field.name for field in dataclasses.fields(Producer))

ARRIVED_ROWS = 101

DAMAGE = (sqlite3.Error, ValueError, TypeError, msgspec.MsgspecError)
"""What reading a damaged file may raise."""


def read_state(connection: sqlite3.Connection) -> State:
    """All that earlier commits have left, apart from the rows."""
    execute = connection.execute
    (number,) = execute("SELECT commits FROM books").fetchone()
    rows = execute(f"SELECT producer_id, {', '.join(ACCOUNT_COLUMNS)} FROM producers")
    producers = {producer_id: Producer(*columns) for producer_id, *columns in rows}
    counters = read_counters(connection)
    return State(
        number,
        producers,
        counters,
        read_totals_by_label(connection, as_counted=True),
        count_missing(connection)[1],
        _read_created(connection),
        read_time(connection),
        _read_arrived_us(connection),
        count_unread(connection).bytes,
        read_progress(connection).kept.rows * MINUTE_US,
    )


def read_time(connection: sqlite3.Connection) -> TimeState:
    """What was known of the time at the last commit; nothing in a file that an older release wrote."""
    cursor = connection.execute("SELECT * FROM books")
    encoded = dict(zip((name for name, *_ in cursor.description), cursor.fetchone(), strict=True)).get("time")
    return msgspec.msgpack.decode(encoded, type=TimeState) if encoded else TimeState()


def _read_arrived_us(connection: sqlite3.Connection) -> int | None:
    """The time of the rows that came last: the median, as a gateway's clock may be wrong."""
    query = f"SELECT timestamp_us FROM invocations ORDER BY id DESC LIMIT {ARRIVED_ROWS}"
    times_us = [time_us for (time_us,) in connection.execute(query)]
    return statistics.median_low(times_us) if times_us else None


def read_counters(connection: sqlite3.Connection) -> Counters:
    """What gateway workers have reported, added up over all that ever lived."""
    counters: Counters = {}
    for name, label, value in connection.execute("SELECT name, label, value FROM gateway_counters"):
        counters.setdefault(name, {})[label] = value
    return counters


def count_missing(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many gaps there are, and how many records are missing in them."""
    # Forged sequences can add up to more than SQLite's integers hold, so the halves are added apart.
    length = "(last_sequence - first_sequence + 1)"
    query = f"SELECT COUNT(*), SUM({length} >> 32), SUM({length} & 0xFFFFFFFF) FROM gaps"
    count, high, low = connection.execute(query).fetchone()
    return count, ((high or 0) << 32) + (low or 0)


def read_totals(connection: sqlite3.Connection, model_id: str) -> ModelTotals | None:
    """Totals of one model by its true id."""
    row = connection.execute(
        f"SELECT model, {', '.join(TOTAL_COLUMNS)} FROM totals JOIN models USING (model) WHERE model_id = ?",
        (model_id,),
    ).fetchone()
    if row is None:
        return None
    model, *columns = row
    errors = connection.execute("SELECT error_type, count FROM error_totals WHERE model = ?", (model,))
    return totals_of(columns, dict(errors), read_usage(connection, model, model).get(model))


def read_totals_of(connection: sqlite3.Connection, models: Sequence[str]) -> dict[str, ModelTotals]:
    """Of these true models (or the `__overflow__` of all without a label) that are known, or by label without any."""
    if not models:
        return read_totals_by_label(connection)
    found = {model: read_totals(connection, model) for model in models}
    if OVERFLOW_MODEL_ID in found:  # no true model: only its label has totals
        found[OVERFLOW_MODEL_ID] = read_totals_by_label(connection).get(OVERFLOW_MODEL_ID)
    return {model: totals for model, totals in found.items() if totals is not None}


def read_totals_by_label(connection: sqlite3.Connection, *, as_counted: bool = False) -> dict[str, ModelTotals]:
    """Totals of the labelled models, and of all others together under `__overflow__`. `as_counted`: as the counters
    have them, where what a model had under `__overflow__` when it got a label of its own stays."""
    totals: dict[str, ModelTotals] = {}
    rows = connection.execute(
        f"""SELECT CASE WHEN labelled THEN model_id ELSE ? END, overflowed, models.model, {", ".join(TOTAL_COLUMNS)}
        FROM totals JOIN models USING (model)""",
        (OVERFLOW_MODEL_ID,),
    )
    errors, usage = _read_errors(connection), read_usage(connection)
    for label, overflowed, model, *columns in rows:
        mine = totals_of(columns, errors.get(model, {}), usage.get(model))
        if as_counted and overflowed is not None and label != OVERFLOW_MODEL_ID:
            stays = decode_overflowed(overflowed)
            totals[OVERFLOW_MODEL_ID] = merged(totals.get(OVERFLOW_MODEL_ID), stays)
            mine = without(mine, stays)
        totals[label] = merged(totals.get(label), mine)
    return totals


def _read_created(connection: sqlite3.Connection) -> dict[str, int]:
    """Label → when its totals were zero, µs since 1970; of labels of an earlier release it isn't known."""
    created_us = dict(
        connection.execute("SELECT model_id, created_us FROM models WHERE labelled AND created_us IS NOT NULL")
    )
    first_us, unknown = connection.execute(
        """SELECT MIN(created_us), COUNT(*) - COUNT(created_us) + COUNT(overflowed)
        FROM models WHERE NOT labelled OR overflowed IS NOT NULL"""
    ).fetchone()
    return created_us if first_us is None or unknown else {**created_us, OVERFLOW_MODEL_ID: first_us}


def encode_overflowed(totals: ModelTotals) -> bytes:
    """As it is kept with a model: by the names of columns, which outlive the order of buckets."""
    columns = dict(zip(TOTAL_COLUMNS, totals_row(totals), strict=True))
    usage = dict(zip(USAGE_NAMES, totals.usage, strict=False))  # there may be none
    return msgspec.json.encode({"totals": columns, "errors": totals.errors, "usage": usage})


def decode_overflowed(encoded: bytes) -> ModelTotals:
    kept = msgspec.json.decode(encoded, type=dict[str, dict[str, int]])
    columns = [kept["totals"].get(column, 0) for column in TOTAL_COLUMNS]
    used = kept.get("usage")
    return totals_of(columns, kept["errors"], [used.get(name, 0) for name in USAGE_NAMES] if used else None)


def totals_row(totals: ModelTotals) -> tuple[int, ...]:
    """In the order of `TOTAL_COLUMNS`."""
    return (
        totals.success_count,
        totals.failure_count,
        totals.latency_us,
        totals.min_latency_us,
        totals.max_latency_us,
        totals.last_timestamp_us,
        *totals.buckets,
    )


def totals_of(columns: list[int], errors: dict[str, int], usage: list[int] | None) -> ModelTotals:
    """`ModelTotals` of a row of `TOTAL_COLUMNS`."""
    success, failure, latency, minimum, maximum, last = columns[:6]
    return ModelTotals(success, failure, latency, minimum, maximum, last, list(columns[6:]), errors, usage or [])


def read_usage(connection: sqlite3.Connection, first: int = 0, last: int = MAX_COUNT) -> dict[int, list[int]]:
    """Number → what was used, of those models of a range that anything is known of."""
    query = f"SELECT model, {', '.join(USAGE_NAMES)} FROM usage_totals WHERE model BETWEEN ? AND ?"
    return {model: usage for model, *usage in connection.execute(query, (first, last))}


def _read_errors(connection: sqlite3.Connection) -> dict[int, dict[str, int]]:
    errors: dict[int, dict[str, int]] = {}
    for model, error_type, count in connection.execute("SELECT model, error_type, count FROM error_totals"):
        # Not checked: one that is unknown here may stand in a damaged file, and must not hide the rest of it.
        errors.setdefault(model, {})[error_type] = count
    return errors
