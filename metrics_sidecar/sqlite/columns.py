"""The columns of a row of `invocations`, as the table of fields has them: named wherever it is written or read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from metrics_sidecar.sqlite.summaries import ROLLED_UP
from shared.fields import Field
from shared.record import FIELDS, Record

MODEL_ID = "model_id"
"""The one field that a row has the number of, in place of its text."""
ERROR_TYPE = "error_type"
"""None where there was no failure."""


class Columns:
    """What SQL and rows derive from a table of fields. `names` begin with what goes into rollups: id, number of the
    model, then fields; the others follow in their order."""

    def __init__(self, fields: Sequence[Field]) -> None:
        by_name = {field.name: field for field in fields}
        self.names = (*ROLLED_UP, *(name for name in by_name if name not in (*ROLLED_UP, MODEL_ID)))
        others = self.names[2:]
        error_type = f"?{self.names.index(ERROR_TYPE) + 1}"
        marks = ("?1", "?2", *(_stored(by_name[name], f"?{at}", error_type) for at, name in enumerate(others, 3)))
        self.insert = f"INSERT INTO invocations ({', '.join(self.names)}) VALUES ({', '.join(marks)})"
        self.shown = ", ".join(("CAST(invocations.id AS TEXT)", *map(_shown, fields)))
        self.stored = ", ".join(_as_json(by_name[name]) if name in by_name else name for name in self.names)
        self._others = attrgetter(*others)
        self._maps = [at for at, name in enumerate(others, 2) if by_name[name].is_map]

    def rows(self, records: Iterable[Record], models: Mapping[str, int], first_id: int) -> Iterator[tuple[Any, ...]]:
        """In the order of `names`, numbered from an id on."""
        others, maps = self._others, self._maps
        for row_id, record in enumerate(records, first_id):
            row = (row_id, models[record.model_id], *others(record))
            for at in maps:
                if row[at] is not None:
                    row = (*row[:at], msgspec.json.encode(row[at], order="sorted").decode(), *row[at + 1 :])
            yield row


def _stored(field: Field, mark: str, error_type: str) -> str:
    """Empty texts, and what a success can't have, take no room."""
    value = f"NULLIF({mark}, '')" if field.default == "" else mark
    is_none = field.told.of_failures and field.name != ERROR_TYPE
    return f"IIF({error_type} IS NULL, NULL, {value})" if is_none else value


def _shown(field: Field) -> str:
    if field.name == MODEL_ID:
        return "(SELECT model_id FROM models WHERE models.model = invocations.model)"
    return f"COALESCE({field.name}, '')" if field.default == "" else _as_json(field)


def _as_json(field: Field) -> str:
    """Its column, as an element of a JSON array: SQLite has no truth values and no maps."""
    if field.is_truth:
        return f"json(CASE {field.name} WHEN 0 THEN 'false' WHEN 1 THEN 'true' END)"
    return f"json({field.name})" if field.is_map else field.name


COLUMNS = Columns(FIELDS)
