"""The columns of a row of `invocations`, as the table of fields has them: named wherever it is written or read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from metrics_sidecar.sqlite.summaries import ROLLED_UP
from shared.fields import Field
from shared.record import FIELDS, Record

MODEL_ID = "model_id"
"""The one field that a row has the number of, in place of its text."""


class Columns:
    """What SQL and rows derive from a table of fields. `names`: id, number of the model, then the fields in order."""

    def __init__(self, fields: Sequence[Field]) -> None:
        others = [field for field in fields if field.name != MODEL_ID]
        self.names = ("id", "model", *(field.name for field in others))
        error_type = f"?{self.names.index('error_type') + 1}"
        marks = ("?1", "?2", *(_stored(field, f"?{at}", error_type) for at, field in enumerate(others, 3)))
        self.insert = f"INSERT INTO invocations ({', '.join(self.names)}) VALUES ({', '.join(marks)})"
        self.shown = ", ".join(("CAST(invocations.id AS TEXT)", *map(_shown, fields)))
        self.stored = ", ".join(self.names)
        self._model_at = [field.name for field in fields].index(MODEL_ID)
        self.of_rollups = itemgetter(*map(self.names.index, ROLLED_UP))

    def rows(self, records: Iterable[Record], models: Mapping[str, int], first_id: int) -> Iterator[tuple[Any, ...]]:
        """In the order of `names`, numbered from an id on."""
        at = self._model_at
        for row_id, record in enumerate(records, first_id):
            values = msgspec.structs.astuple(record)
            yield row_id, models[values[at]], *values[:at], *values[at + 1 :]


def _stored(field: Field, mark: str, error_type: str) -> str:
    """Empty texts, and what a success can't have, take no room."""
    value = f"NULLIF({mark}, '')" if field.default == "" else mark
    return f"IIF({error_type} IS NULL, NULL, {value})" if field.told.of_failures else value


def _shown(field: Field) -> str:
    if field.name == MODEL_ID:
        return "(SELECT model_id FROM models WHERE models.model = invocations.model)"
    return f"COALESCE({field.name}, '')" if field.default == "" else field.name


COLUMNS = Columns(FIELDS)
