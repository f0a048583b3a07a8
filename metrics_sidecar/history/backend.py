"""Where a history is kept: all that the sidecar asks of the place, behind one Protocol.

`tests/metrics_sidecar/history/contract` holds every backend to what is promised here, in `writer.Writer`,
`reader.Reader` and `audit.Audit`.
"""

from typing import NamedTuple, Protocol

from metrics_sidecar.history.audit import Audit
from metrics_sidecar.history.reader import Reader
from metrics_sidecar.history.writer import Writer


class DiskUse(NamedTuple):
    """Bytes: what the history takes; and of what it is on, free for us and in all."""

    history_bytes: int
    free_bytes: int
    size_bytes: int


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
    """One history. Its writer is opened first, and one at a time; all else reads beside it what it has committed: whole
    commits only, and never in its way."""

    def open_writer(self) -> Writer:
        """Makes the history if there is none; `StartupError` if it can't be used."""
        ...

    def open_reader(self) -> OpenReader: ...

    def open_audit(self) -> Audit:
        """`StoreError` if it can't be read."""
        ...

    def measure_disk(self) -> DiskUse | None:
        """What it takes, and what is left for it; None where nothing can be said."""
        ...
