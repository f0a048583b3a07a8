"""The columns in which an invocation is shown, in rows and in files: those of the table of fields, by their names."""

import re
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from msgspec import Meta

from shared.fields import Field
from shared.record import MAX_COUNT

NANO = 1_000_000_000
Dollars = Annotated[str, Meta(pattern="^[0-9]{1,10}(\\.[0-9]{1,9})?\\Z", examples=["0.000125"])]
"""A decimal number, exact: no float holds all of them."""

FIRST = (
    *("model_id", "timestamp", "success", "latency_ms", "error_log", "input_size", "output_size", "error_type"),
    "trace_id",
)
"""Columns of the first releases, in their order; those that came later stand behind them, in the table's."""
SUCCESS = "success"
"""The one column that is none of a field: whether there is no error type."""


class Column(NamedTuple):
    """By this name, what a field says."""

    name: str
    field: Field

    @property
    def is_success(self) -> bool:
        return self.name == SUCCESS


def dollars(nano_usd: int) -> str:
    """Without zeros at its end."""
    whole, rest = divmod(nano_usd, NANO)
    return f"{whole}.{rest:09}".rstrip("0") if rest else str(whole)


def nano_dollars(text: str) -> int:
    """`ValueError` for what is no `Dollars`, or too many."""
    if not _DOLLARS.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no amount in dollars")
    whole, _, rest = text.partition(".")
    nano_usd = int(whole) * NANO + int(rest.ljust(9, "0") or 0)
    if nano_usd > MAX_COUNT:
        raise ValueError(f"{text} is too many dollars")
    return nano_usd


_DOLLARS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?", re.ASCII)


def shown_columns(fields: Iterable[Field]) -> list[Column]:
    """Those of rows."""
    return _ordered(field for field in fields if field.told.shown)


def exported_columns(fields: Iterable[Field]) -> list[Column]:
    """Those of files, beside the row's id and its store."""
    return _ordered(field for field in fields if field.told.exported)


def is_later(column: Column) -> bool:
    """Whether older files lack it."""
    return column.name not in FIRST


def _ordered(fields: Iterable[Field]) -> list[Column]:
    columns = [Column(field.shown_name, field) for field in fields]
    columns += [Column(SUCCESS, field) for _, field in columns if field.name == "error_type"]
    return sorted(columns, key=_place)


def _place(column: Column) -> int:
    return FIRST.index(column.name) if column.name in FIRST else len(FIRST)
