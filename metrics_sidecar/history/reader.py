"""Who answers what is asked of a history."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from metrics_sidecar.history.aggregate import Ask, Table
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import HistoryPage, HistoryQuery, HistoryRow


class Reader(Protocol):
    """Each answer is of one state, which whole commits have left, in their order; it never delays one. A read whose
    caller is cancelled ends. Raises `StoreError` when the history can't be read, `BusyError` when a read waited too
    long for its turn, and `QueryTooLongError` when it was ended for its length."""

    async def page(self, query: HistoryQuery) -> HistoryPage:
        """Some of the rows that match, ordered by timestamp, and those of one timestamp as they were committed."""
        ...

    async def one(self, row_id: str) -> HistoryRow | None:
        """The row of this id; None if there is none, or none any more."""
        ...

    async def aggregate(self, ask: Ask) -> Table:
        """Exactly the records that are asked for, in groups that have any. `NotBuiltError` while older rows are not
        summed up yet; `TooManyModelsError`."""
        ...

    def rows(self, wanted: Export) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """All that match, as a file, made no faster than it is taken: those that there are when it begins and that are
        not removed before their turn. Raises `ExportsBusyError` when as many are read as may be; the iterator raises
        `StoreError` if it can't go on: what came before is not whole then."""
        ...
