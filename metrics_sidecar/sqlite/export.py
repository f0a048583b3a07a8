"""Reads all rows that match, in the order in which they were committed.

No transaction is held open for an export: SQLite could not shrink its log meanwhile, however long the caller takes.
Instead rows are read by ranges of ids, up to the last id there was at the beginning. Rows never change, and
what retention has removed before its turn is left out; so each row is there once, and no later one is.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from metrics_sidecar.history.queries import HistoryFilter
from metrics_sidecar.sqlite.columns import COLUMNS
from metrics_sidecar.sqlite.filters import Selection, select, where

SLICE_IDS = 512
"""Few, so that a processor's own cache holds what is made of them: of eight times as many, each takes half as long
again."""
MAX_MODELS_HELD = 50_000

ExportRow = tuple[Any, ...]
"""In the order of `COLUMNS.names`."""

_rows = msgspec.json.Decoder(list[ExportRow])


class Slice(NamedTuple):
    """Rows of a range of ids, the ids of their models, and how much of the export is read by now, from 0 to 1."""

    rows: list[ExportRow]
    models: dict[int, str]
    done: float


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, to a history whose sidecar runs."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection


def read_slices(connection: sqlite3.Connection, wanted: HistoryFilter) -> Iterator[Slice]:
    """All rows that the filter matches. A slice takes some milliseconds to read, whatever the filter is."""
    selection = select(connection, wanted)
    if not selection.lane_count:
        return
    first, last = _bounds(connection, selection)
    clause, arguments = where([("id BETWEEN ? AND ?", ())], selection.lanes(), selection.time, selection.rest)
    # By id, even where SQLite would rather use an index: that would have to be searched for each slice anew. As one
    # array, they come in two thirds of the time that Python's module takes for them.
    sql = f"SELECT json_group_array(json_array({COLUMNS.stored})) FROM invocations NOT INDEXED {clause}"
    models: dict[int, str] = {}
    for start in range(first, last + 1, SLICE_IDS):
        end = min(start + SLICE_IDS - 1, last)
        found = _rows.decode(connection.execute(sql, [start, end, *arguments]).fetchone()[0])
        _add_models(connection, models, {row[1] for row in found})
        yield Slice(found, models, (end + 1 - first) / (last + 1 - first))


def _bounds(connection: sqlite3.Connection, selection: Selection) -> tuple[int, int]:
    """First and last id that may match; 0 and -1 for none."""
    if selection.time:
        clause, arguments = where(selection.time)
        query = f"SELECT MIN(id), MAX(id) FROM invocations {clause}"
        found = connection.execute(query, arguments).fetchone()
    else:
        found = connection.execute(
            "SELECT (SELECT MIN(id) FROM invocations), (SELECT MAX(id) FROM invocations)"
        ).fetchone()
    return (0, -1) if found[0] is None else (found[0], found[1])


def _add_models(connection: sqlite3.Connection, models: dict[int, str], met: set[int]) -> None:
    """Look up those that were not met before."""
    if len(models) > MAX_MODELS_HELD:
        models.clear()
    for model in met.difference(models):
        query = "SELECT model_id FROM models WHERE model = ?"
        models[model] = connection.execute(query, (model,)).fetchone()[0]
