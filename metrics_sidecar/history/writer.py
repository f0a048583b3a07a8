"""Who keeps the history: the ledger hands it whole transactions, and reads at the start what earlier ones have left."""

from collections.abc import Sequence
from typing import Protocol

from metrics_sidecar.history.retention import Upkeep
from metrics_sidecar.ledger.transaction import Commit, State, UnreadRecord


class Writer(Protocol):
    """The one that writes to a history. Used by one thread at a time, but for what says otherwise."""

    def load(self) -> State:
        """All that earlier commits have left. `StartupError` if it can't be read."""
        ...

    def commit(self, commit: Commit) -> list[str]:
        """Store all of it, for good, or raise `StoreError`. After that nothing of it is stored, or all of it: it is
        given again then, unchanged and before any other, and idempotent by its number. Returns the models that got a
        label with it: those never seen before, in order, while there is room."""
        ...

    @property
    def identity(self) -> str:
        """Who this history is: 32 hex digits, by which its rows are told from those of others. Never another."""
        ...

    def known(self, history: str, ids: Sequence[int]) -> list[bool]:
        """Which rows of a history, this one or another, are in this one, or were before they got too old: those of an
        `Origin` that was committed."""
        ...

    def read_unread(self, after_id: int, limit: int) -> list[UnreadRecord]:
        """The next of what is set aside, in the order of their ids. `StoreError` if it can't be read now."""
        ...

    def tend(self, now_us: int, *, busy: bool, aged_us: int | None = None) -> bool:
        """One slice of what keeps the store quick, between two commits; False if there is nothing left to do. What is
        old is removed as it was at `aged_us`, where that is not now. `busy`: what is cheapest comes first.
        `StoreError` if it can't be done now; what is committed stays as it is."""
        ...

    @property
    def upkeep(self) -> Upkeep:
        """How far the store is with what `tend` does. For any thread."""
        ...

    @property
    def failures(self) -> list[str]:
        """What it does on threads of its own and fails to, in words. For any thread."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...
