"""Files of the history: what can be wanted."""

from typing import Literal

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
