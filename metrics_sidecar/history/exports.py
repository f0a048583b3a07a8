"""Files of the history: what can be wanted, and who makes them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from metrics_sidecar.history.queries import HistoryFilter

Format = Literal["csv", "ndjson", "parquet"]


class Export(msgspec.Struct, frozen=True):
    """What is wanted. `gzip`: the whole as a gzip file; `bom`: CSV begins with a byte order mark."""

    format: Format
    filter: HistoryFilter = HistoryFilter()
    gzip: bool = False
    bom: bool = False


class ExportsBusyError(Exception):
    """As many exports run as may run at one time."""


class Exporter(Protocol):
    """Makes files of the history."""

    def export(self, wanted: Export) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The file's bytes, made no faster than they are taken. Raises `ExportsBusyError` when enough exports
        run; the iterator raises `StoreError` if it can't go on."""
        ...
