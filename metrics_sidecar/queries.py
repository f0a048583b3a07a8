"""What can be asked of the ledger, and what it answers. The store implements `Queries`; the API asks."""

from typing import Literal, Protocol

import msgspec

from metrics_sidecar.totals import ModelTotals
from shared.record import ErrorType

Order = Literal["desc", "asc"]
Status = Literal["success", "failure"]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the row's timestamp (µs) and id. Rows are ordered by these two."""

    timestamp_us: int
    id: int


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of a history page. `since_us` is inclusive and `until_us` exclusive, both µs since 1970;
    the page starts after the row at `after`, or `offset` rows from the beginning."""

    model_id: str | None = None
    status: Status | None = None
    since_us: int | None = None
    until_us: int | None = None
    limit: int = 100
    offset: int = 0
    after: Position | None = None
    order: Order = "desc"


class HistoryRow(msgspec.Struct, frozen=True):
    """One invocation as it stands in the ledger; times in µs."""

    id: int
    model_id: str
    timestamp_us: int
    latency_us: int
    error_type: ErrorType | None
    error_log: str
    input_size: int
    output_size: int
    trace_id: str | None


class HistoryPage(msgspec.Struct, frozen=True):
    """`total_count` counts all rows that the filters match; `next` is None on the last page."""

    rows: list[HistoryRow]
    total_count: int
    next: Position | None


class Queries(Protocol):
    """Reads of committed state, each one snapshot; they never delay a commit.
    Raises `StoreError` when the store can't be read."""

    async def history(self, query: HistoryQuery) -> HistoryPage:
        """One page, ordered by timestamp and id."""
        ...

    async def totals(self, model_id: str) -> ModelTotals | None:
        """Since the beginning, for a true model id (with or without a label of its own)."""
        ...

    async def totals_by_label(self) -> dict[str, ModelTotals]:
        """All labels of the metrics; `__overflow__` holds the models beyond the cap together."""
        ...


class StoreError(Exception):
    """The store can't be read or written just now; the message says why."""
