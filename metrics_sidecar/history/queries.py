"""What can be asked of the ledger, and what it answers. The store implements `Queries`; the API asks."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from metrics_sidecar.history.windows import SeriesAnswer, SeriesQuery, Window, WindowAnswer
from metrics_sidecar.ledger.totals import ModelTotals

Order = Literal["desc", "asc"]
Status = Literal["success", "failure"]


MAX_MATCHED_MODELS = 10_000
"""Whose ids may begin with the prefixes of an answer that has something for each."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the row's timestamp (µs) and id. Rows are ordered by these two."""

    timestamp_us: int
    id: int


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: those that match all that is given. Models: those with one of these ids or id prefixes, all
    without any; of each other tuple one must match. `since_us` is inclusive and `until_us` exclusive, µs since
    1970; latencies in µs, both inclusive; `error_contains` is part of the error log, case-sensitive."""

    models: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    status: Status | None = None
    error_types: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    min_latency_us: int | None = None
    max_latency_us: int | None = None
    error_contains: str = ""

    @property
    def reads_rows(self) -> bool:
        """Whether rows must be looked at: an index tells all but these."""
        return self.min_latency_us is not None or self.max_latency_us is not None or bool(self.error_contains)


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what the filter matches: after the row at `after`, or `offset` rows from the beginning."""

    filter: HistoryFilter = HistoryFilter()
    limit: int = 100
    offset: int = 0
    after: Position | None = None
    order: Order = "desc"


class HistoryRow(msgspec.Struct, frozen=True, array_like=True):
    """One invocation as it stands in the ledger; times in µs. Stores tell its fields in this order."""

    id: int
    model_id: str
    timestamp_us: int
    latency_us: int
    error_type: str | None
    error_log: str
    input_size: int
    output_size: int
    trace_id: str | None


class HistoryPage(msgspec.Struct, frozen=True):
    """`total_count` counts all rows that the filter matches, or, not exact, those counted before it would have
    taken long; `next` is None on the last page."""

    rows: list[HistoryRow]
    total_count: int
    next: Position | None
    total_count_is_exact: bool = True


class Queries(Protocol):
    """Reads of committed state, each one snapshot; they never delay a commit. One whose caller is cancelled ends.
    Raises `StoreError` when the store can't be read, `BusyError` when it waited too long for its turn, and
    `QueryTooLongError` when it was ended for its length."""

    async def history(self, query: HistoryQuery) -> HistoryPage:
        """One page, ordered by timestamp and id."""
        ...

    async def invocation(self, row_id: int) -> HistoryRow | None:
        """The row of this id; None if there is none, or none any more."""
        ...

    async def totals(self, models: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, ModelTotals]:
        """Since the beginning, of these true models (or the `__overflow__` of all without a label) and those whose id
        begins so, or by label without any; those that are known. `TooManyModelsError`."""
        ...

    async def window(self, window: Window, models: Sequence[str], prefixes: Sequence[str] = ()) -> WindowAnswer:
        """Exactly the records of a window, of models as in `totals`; those that have any. `NotBuiltError` while older
        rows are not summed up yet; `TooManyModelsError`."""
        ...

    async def series(self, query: SeriesQuery) -> SeriesAnswer:
        """The same for each step of a window. `NotBuiltError`, `TooManyModelsError`."""
        ...


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
