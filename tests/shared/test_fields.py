"""What the table of fields says of each."""

from typing import Annotated

import msgspec
import pytest

from shared.fields import Told, plain_struct, read_fields
from shared.record import COUNTED, FIELDS, SUMMED, Count, Record, TraceId


class Wider(Record, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A record with one field more."""

    wait_us: Annotated[Count | None, Told(help="How long it waited.", unit="us", summed=True)] = None


def test_the_table_has_the_fields_of_a_record_in_their_order() -> None:
    """Each with its type, default and unit; and each says what it is."""
    assert tuple(field.name for field in FIELDS) == Record.__struct_fields__
    assert [field.name for field in FIELDS if not field.told.help] == []
    tokens = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
    assert ("latency_us", "input_size", "output_size", *tokens, "cost_nano_usd") == SUMMED
    assert (*tokens, "cost_nano_usd") == COUNTED


def test_a_field_that_is_added_is_in_the_table() -> None:
    """At its end, with what is told of it."""
    *before, added = read_fields(Wider)
    assert tuple(before) == FIELDS
    assert (added.name, added.shown_name, added.default, added.plain) == ("wait_us", "wait_ms", None, int | None)
    assert (added.is_optional, added.is_text, added.told.summed) == (True, False, True)


def test_a_field_of_which_nothing_is_told_is_a_defect() -> None:
    """It would be shown nowhere."""

    class Silent(msgspec.Struct):
        number: int = 0

    with pytest.raises(TypeError, match="what number is must be told once"):
        read_fields(Silent)


def test_rows_keep_what_was_within_other_bounds() -> None:
    """Those of another release: a row is read as it stands."""

    class Numbered(msgspec.Struct, frozen=True, array_like=True, gc=False):
        id: int

    values = ["m" * 300, -1, 2, "Any Word", "x" * 3000, 0, 0, "no trace"]
    row = msgspec.json.decode(
        msgspec.json.encode([7, *values, *(field.default for field in FIELDS[len(values) :])]),
        type=plain_struct("Row", Numbered, FIELDS),
        strict=True,
    )
    assert (row.id, len(row.model_id), row.timestamp_us, row.trace_id) == (7, 300, -1, "no trace")  # type: ignore[attr-defined] # made of the table
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("no trace", TraceId)
