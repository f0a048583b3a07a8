"""The columns of a row of `invocations`, as the table of fields has them: named wherever it is written or read."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from metrics_sidecar.ledger.usage import USAGE_MISSING
from metrics_sidecar.sqlite.summaries import ROLLED_UP
from metrics_sidecar.sqlite.words import Numbering
from shared.fields import Field
from shared.record import FIELDS, Record

MODEL_ID = "model_id"
"""The one field that a row always has the number of, in place of its text."""
ERROR_TYPE = "error_type"
"""None where there was no failure; a text, as it stands in indexes."""

Values = Sequence[Any]
"""Of a column."""


class Batch(NamedTuple):
    """Rows to be written by one statement, and what of them goes into rollups, in the order of `ROLLED_UP`."""

    insert: str
    rows: Iterable[tuple[Any, ...]]
    rolled_up: list[tuple[Any, ...]]


class Columns:
    """What SQL and rows derive from a table of fields. `names`: id, number of the model, then fields in their order.
    `worded`: texts of few different values, in whose place a row has the number of a word, as long as there is room for
    words. `packed`: texts that are bytes in a row, where they are hex digits."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = {field.name: field for field in fields}
        self.names = ("id", "model", *(name for name in self._fields if name != MODEL_ID))
        self.worded = frozenset(field.name for field in fields if is_worded(field))
        self.packed = frozenset(field.name for field in fields if field.told.digits)
        self.shown = ", ".join(("CAST(invocations.id AS TEXT)", *map(_shown, fields)))
        self.stored = ", ".join(_shown(self._fields[name]) if name in self._fields else name for name in self.names)

    def batch(self, records: Sequence[Record], models: Mapping[str, int], words: Numbering, first_id: int) -> Batch:
        """At least one, numbered from an id on; of models whose numbers these are."""
        columns = zip(*map(msgspec.structs.astuple, records), strict=True)
        told: dict[str, Values] = dict(zip(self._fields, columns, strict=True))
        count, error_types = len(records), told[ERROR_TYPE]
        told["id"], told["model"] = range(first_id, first_id + count), [models[model] for model in told[MODEL_ID]]
        is_success = error_types.count(None) == count
        # To bind None takes Python's module several times as long as a number or a text. So columns that no record has
        # anything in are left out of the statement, and in the others an empty text stands for it.
        written: dict[str, Values] = {}
        for name in self.names:
            field, values = self._fields.get(name), told[name]
            if field is not None and field.told.of_failures:
                if is_success:
                    continue
                values = [value if kind is not None else "" for value, kind in zip(values, error_types, strict=True)]
            elif field is not None and field.is_optional:
                if values.count(None) == count:
                    continue
                values = _bound(field, values, words)
            written[name] = values
        is_metered = "operation" in written
        told[USAGE_MISSING] = [record.usage_missing for record in records] if is_metered else (None,) * count
        rolled_up = [*zip(*(told[name] for name in ROLLED_UP), strict=True)]
        return Batch(self._insert(*written), zip(*written.values(), strict=True), rolled_up)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - there is one of them
    def _insert(self, *names: str) -> str:
        marks = (self._mark(name) for name in names)
        return f"INSERT INTO invocations ({', '.join(names)}) VALUES ({', '.join(marks)})"

    def _mark(self, name: str) -> str:
        field = self._fields.get(name)
        return "NULLIF(?, '')" if field is not None and (field.is_optional or field.default == "") else "?"


def is_worded(field: Field) -> bool:
    return field.told.few and field.name not in (MODEL_ID, ERROR_TYPE)


def pack(text: str) -> bytearray | str:
    """In half the room, if it is hex digits; rows of older releases have the text. (An array, as Python's module takes
    several times as long for bytes.)"""
    try:
        packed = bytearray.fromhex(text)
    except ValueError:
        return text
    return packed if packed.hex() == text else text


def _bound(field: Field, values: Values, words: Numbering) -> Values:
    """As they are written; what is too new a word for its number stands as it is."""
    if is_worded(field):
        numbers = words.number({*values} - {None})
        return ["" if value is None else numbers.get(value, value) for value in values]
    if field.told.digits:
        return ["" if value is None else pack(value) for value in values]
    if field.is_truth:
        return ["" if value is None else int(value) for value in values]
    if field.is_map:
        return ["" if value is None else msgspec.json.encode(value, order="sorted").decode() for value in values]
    return ["" if value is None else value for value in values]


def _shown(field: Field) -> str:
    """As an element of a JSON array: SQLite has no truth values and no maps."""
    name = field.name
    if name == MODEL_ID:
        return "(SELECT model_id FROM models WHERE models.model = invocations.model)"
    if is_worded(field):
        return f"CASE typeof({name}) WHEN 'integer' THEN (SELECT word FROM words WHERE number = {name}) ELSE {name} END"
    if field.told.digits:
        return f"CASE typeof({name}) WHEN 'blob' THEN lower(hex({name})) ELSE {name} END"
    if field.is_truth:
        return f"json(CASE {name} WHEN 0 THEN 'false' WHEN 1 THEN 'true' END)"
    if field.is_map:
        return f"json({name})"
    return f"COALESCE({name}, '')" if field.default == "" else name


COLUMNS = Columns(FIELDS)
