"""Columns of a row, as they are written."""

import contextlib
import sqlite3

from metrics_sidecar.sqlite.columns import COLUMNS
from metrics_sidecar.sqlite.schema import migrate
from metrics_sidecar.sqlite.summaries import ROLLED_UP
from shared.record import Record

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_row_begins_with_what_its_rollups_need() -> None:
    """And has each field once, the model by its number."""
    assert COLUMNS.names[: len(ROLLED_UP)] == ROLLED_UP
    assert {*COLUMNS.names} == {"id", "model", *Record.__struct_fields__} - {"model_id"}
    assert len({*COLUMNS.names}) == len(COLUMNS.names)


def test_what_is_not_there_takes_no_room() -> None:
    """An empty text is NULL, and so is what a success can't have, whatever its producer has sent."""
    records = [
        Record("a", 1, 2, None, "a success with an error log", 3, 4, TRACE, "r-1"),
        Record("b", 5, 6, "timeout", "why", 7, 8),
        Record("b", 9, 10, "timeout"),
    ]
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, ":memory:")
        connection.executemany(COLUMNS.insert, COLUMNS.rows(records, {"a": 10, "b": 20}, 5))
        found = connection.execute(
            "SELECT id, model, timestamp_us, error_type, error_log, trace_id, request_id FROM invocations ORDER BY id"
        ).fetchall()
    assert found == [
        (5, 10, 1, None, None, TRACE, "r-1"),
        (6, 20, 5, "timeout", "why", None, None),
        (7, 20, 9, "timeout", None, None, None),
    ]
