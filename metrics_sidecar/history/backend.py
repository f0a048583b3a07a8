"""Where a history is kept: all that the sidecar asks of the place, behind one Protocol.

`tests/metrics_sidecar/history/contract` holds every backend to what is promised here, in `writer.Writer`,
`reader.Reader`, `audit.Snapshot` and `exports.Exporter`.
"""

from typing import Protocol

from metrics_sidecar.disk import DiskUse
from metrics_sidecar.history.audit import Snapshot
from metrics_sidecar.history.exports import Exporter
from metrics_sidecar.history.reader import Reader
from metrics_sidecar.history.writer import Writer


class OpenReader(Reader, Protocol):
    """One that runs. Whose rows it reads is said where it is made."""

    async def start(self) -> None:
        """Get ready, so that the first question finds all running. Not needed before one."""
        ...

    async def watch(self) -> None:
        """See that questions can be answered, as long as they can: then `StoreError` tells why not. To be called
        again after a while."""
        ...

    def close(self) -> None:
        """End what is being read. Idempotent."""
        ...


class Backend(Protocol):
    """One history. The store that writes it is opened first, and one at a time; all else reads beside it what it has
    committed: at once, whole commits only, and never in its way."""

    def open_store(self) -> Writer:
        """Makes the history if there is none; `StartupError` if it can't be used."""
        ...

    def open_reader(self) -> OpenReader: ...

    def open_snapshot(self) -> Snapshot:
        """`StoreError` if it can't be read."""
        ...

    def exporter(self) -> Exporter: ...

    def measure_disk(self) -> DiskUse | None:
        """What it takes, and what is left for it; None where nothing can be said."""
        ...
