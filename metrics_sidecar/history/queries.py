"""Single invocations: what may be asked of them, and what is answered."""

from typing import TYPE_CHECKING, Literal

import msgspec

from shared.fields import plain_struct
from shared.record import FIELDS, Record

Order = Literal["desc", "asc"]
Status = Literal["success", "failure"]


OF_FAILURES = frozenset(field.name for field in FIELDS if field.told.of_failures)
"""Fields that a success has nothing in."""

MAX_MATCHED_MODELS = 10_000
"""Whose ids may begin with the prefixes of an answer that has something for each."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the row's timestamp (µs) and id."""

    timestamp_us: int
    id: str


class Term(msgspec.Struct, frozen=True, array_like=True):
    """What a field must be: equal to a value, at least or at most as large, a text that contains it, in its case, or a
    map that has it, as `name=value`. In the units of the record."""

    field: str
    is_: Literal["equal", "least", "most", "contains", "has"]
    value: int | str


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: those that match all that is given. Models: those with one of these ids or id prefixes, all
    without any; of each other tuple one must match. `since_us` is inclusive and `until_us` exclusive, µs since
    1970; `terms`: what is asked of other fields."""

    models: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    status: Status | None = None
    error_types: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    terms: tuple[Term, ...] = ()

    @property
    def reads_rows(self) -> bool:
        """Whether rows must be looked at: an index tells all but these."""
        return bool(self.terms)

    @property
    def is_of_failures(self) -> bool:
        """Whether no success can match."""
        asked = {term.field for term in self.terms}
        return bool(self.status == "failure" or self.error_types or not asked.isdisjoint(OF_FAILURES))


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what the filter matches: after the row at `after`, or `offset` rows from the beginning."""

    filter: HistoryFilter = HistoryFilter()
    limit: int = 100
    offset: int = 0
    after: Position | None = None
    order: Order = "desc"


class _Numbered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One invocation as it stands in the ledger: its id, in which nobody but the history itself reads anything, then
    the fields of its record in their order. Bounds that these had when it came are not looked at again: another release
    may have had others."""

    id: str


if TYPE_CHECKING:

    class HistoryRow(Record, frozen=True, kw_only=True):
        id: str

else:
    HistoryRow = plain_struct("HistoryRow", _Numbered, FIELDS)


class HistoryPage(msgspec.Struct, frozen=True):
    """`total_count` counts all rows that the filter matches, or, not exact, those counted before it would have
    taken long; `next` is None on the last page."""

    rows: list[HistoryRow]
    total_count: int
    next: Position | None
    total_count_is_exact: bool = True


class StoreError(Exception):
    """The store can't be read or written just now; the message says why."""


class NotBuiltError(StoreError):
    """Sums over windows are still being made of rows that an older release has left."""


class TooManyModelsError(StoreError):
    """More than `MAX_MATCHED_MODELS` begin with the prefix that the message is."""


class BusyError(StoreError):
    """A read was ended because others came before it."""


class QueryTooLongError(StoreError):
    """A read was ended because it took longer than it may."""
