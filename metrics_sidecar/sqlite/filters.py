"""Filters of the history as the store reads them: lanes, whose rows an index holds in order of time, and the rest."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metrics_sidecar.history.aggregate import ALL
from metrics_sidecar.history.queries import MAX_MATCHED_MODELS, HistoryFilter, Term, TooManyModelsError
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.sqlite.columns import COLUMNS, pack
from metrics_sidecar.sqlite.rollups import Condition, Value, read_progress

LAST_CHARACTER = "\U0010ffff"
SURROGATES = (0xD800, 0xDFFF)

_ERROR_TYPES = """
WITH RECURSIVE found (error_type) AS (
    SELECT MIN(error_type) FROM invocations WHERE error_type IS NOT NULL
    UNION ALL
    SELECT (SELECT MIN(error_type) FROM invocations WHERE error_type > found.error_type)
    FROM found WHERE found.error_type IS NOT NULL
)
SELECT error_type FROM found WHERE error_type IS NOT NULL
"""

_TERMS = {"equal": "{} = ?", "least": "{} >= ?", "most": "{} <= ?", "contains": "instr({}, ?) > 0"}
_FIELDS = {name: name for name in COLUMNS.names}
"""No other name becomes SQL."""
_ENTRY = "json_extract({}, ?) = ?"
_WORD = "{} IN (?, (SELECT number FROM words WHERE word = ?))"

Lane = tuple[int, str]
"""Number of a model and an error type; 0 and empty where the lane has all of them."""


class Selection(NamedTuple):
    """What a filter comes to: each of these models with each of these error types is a lane, None stands for all.
    `since_us`, `until_us` and `rest` are conditions of each lane; `rest` is what no index tells."""

    models: list[int] | None
    error_types: list[str] | None
    since_us: int | None
    until_us: int | None
    rest: list[Condition]

    @property
    def time(self) -> list[Condition]:
        bounds = (("timestamp_us >= ?", self.since_us), ("timestamp_us < ?", self.until_us))
        return [(term, (value,)) for term, value in bounds if value is not None]

    @property
    def lane_count(self) -> int:
        return (1 if self.models is None else len(self.models)) * (
            1 if self.error_types is None else len(self.error_types)
        )

    @property
    def only_lane(self) -> Lane:
        """The lane, where there is one."""
        return (self.models or [0])[0], (self.error_types or [""])[0]

    def lane(self, model: str, error_type: str) -> list[Condition]:
        """What makes a lane of a model and an error type, both given as SQL."""
        columns = (("model", model, self.models), ("error_type", error_type, self.error_types))
        return [(f"{column} = {value}", ()) for column, value, values in columns if values is not None]

    def lanes(self, model: str = "model") -> list[Condition]:
        """What makes all lanes together, in no order. By `+model`, models are not looked up in an index."""
        columns = ((model, self.models), ("error_type", self.error_types))
        return [
            (f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(values),))
            for column, values in columns
            if values is not None
        ]


def where(*conditions: Iterable[Condition]) -> tuple[str, list[Value]]:
    """The clause, and its arguments."""
    flat = [condition for some in conditions for condition in some]
    clause = f"WHERE {' AND '.join(term for term, _ in flat)}" if flat else ""
    return clause, [value for _, values in flat for value in values]


def select(connection: sqlite3.Connection, wanted: HistoryFilter) -> Selection:
    """The lanes of a filter; where there is none, nothing matches."""
    return Selection(
        models=_find_models(connection, wanted),
        error_types=_error_types(connection, wanted),
        since_us=max(wanted.since_us or 0, first_kept_us(connection)) or None,
        until_us=wanted.until_us,
        rest=_rest(wanted),
    )


def first_kept_us(connection: sqlite3.Connection) -> int:
    """Rows before it are about to be removed: they are gone for all readers at once."""
    return read_progress(connection).kept.rows * MINUTE_US


def _find_models(connection: sqlite3.Connection, wanted: HistoryFilter) -> list[int] | None:
    """Their numbers; None for all models."""
    if not (wanted.models or wanted.prefixes):
        return None
    execute = connection.execute
    query = "SELECT model FROM models WHERE model_id IN (SELECT value FROM json_each(?))"
    found = execute(query, (json.dumps(wanted.models),)).fetchall()
    for prefix in wanted.prefixes:
        found += execute("SELECT model FROM models WHERE model_id >= ? AND model_id < ?", (prefix, _end_of(prefix)))
    models = sorted({model for (model,) in found})
    more = "SELECT COUNT(*) FROM (SELECT 1 FROM models LIMIT ?)"
    return None if execute(more, (len(models) + 1,)).fetchone() == (len(models),) else models


def find_ids(connection: sqlite3.Connection, models: Sequence[str], prefixes: Sequence[str]) -> tuple[str, ...]:
    """These, and those of all models that begin so; where there are none, one that no model has."""
    found = dict.fromkeys(models)
    query = f"SELECT model_id FROM models WHERE model_id >= ? AND model_id < ? LIMIT {MAX_MATCHED_MODELS + 1}"
    for prefix in prefixes:
        found.update((model_id, None) for (model_id,) in connection.execute(query, (prefix, _end_of(prefix))))
        if len(found) > MAX_MATCHED_MODELS:
            raise TooManyModelsError(prefix)
    return (*found,) or ((ALL,) if prefixes else ())


def _end_of(prefix: str) -> str | bytes:
    """The least value after all texts that begin so, in SQLite's order: that of their characters."""
    head = prefix.rstrip(LAST_CHARACTER)
    if not head:
        return b""  # SQLite has blobs after texts
    code = ord(head[-1]) + 1
    return head[:-1] + chr(SURROGATES[1] + 1 if code == SURROGATES[0] else code)


def _error_types(connection: sqlite3.Connection, wanted: HistoryFilter) -> list[str] | None:
    """None for successes, too."""
    if not wanted.is_of_failures:
        return None
    if wanted.status == "success":
        return []
    return sorted(set(wanted.error_types)) or find_error_types(connection)


def find_error_types(connection: sqlite3.Connection) -> list[str]:
    """Those of the rows there are, in order; each is found by a seek in an index."""
    return [error_type for (error_type,) in connection.execute(_ERROR_TYPES)]


def _rest(wanted: HistoryFilter) -> list[Condition]:
    rest: list[Condition] = [("error_type IS NULL", ())] if wanted.status == "success" else []
    return rest + [_condition(term) for term in wanted.terms]


def _condition(term: Term) -> Condition:
    column = _FIELDS[term.field]
    if term.is_ == "equal" and column in COLUMNS.worded:
        return _WORD.format(column), (term.value, term.value)
    if term.is_ == "equal" and column in COLUMNS.packed:
        return f"{column} IN (?, ?)", (term.value, pack(str(term.value)))
    if term.is_ == "has":
        name, _, value = str(term.value).partition("=")
        return _ENTRY.format(column), (f'$."{name}"', value)
    return _TERMS[term.is_].format(column), (term.value,)
