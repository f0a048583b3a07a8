"""Runs a check of the books beside the work: on a thread of its own, one at a time, on one unchanging state."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from metrics_sidecar.history.reconcile import Reconciliation
from metrics_sidecar.metrics.live import Live, LiveCopy

ATTEMPTS = 5


class Audit(Protocol):
    """A check of one state of the history, beside which commits go on. Raises `StoreError` when it can't be read."""

    def commits(self) -> int:
        """The number of the last transaction in it."""
        ...

    def reconcile(self, live: LiveCopy | None) -> Reconciliation:
        """As `reconcile.reconcile` does."""
        ...

    def interrupt(self) -> None:
        """From another thread: end what runs with a `StoreError`."""
        ...

    def close(self) -> None: ...


class Auditor:
    """Compares the store with what is shown. A state that the counters were in, too, is waited for: they
    follow each commit, so they come to where the store is, unless they have gone past it already."""

    def __init__(self, open_audit: Callable[[], Audit], live: Live) -> None:
        self._open_audit = open_audit
        self._live = live
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._current: Audit | None = None
        self._open: set[Audit] = set()

    async def reconcile(self) -> Reconciliation:
        """One check, after those that were asked for before. `StoreError` if the store can't be read."""
        async with self._lock:
            for _ in range(ATTEMPTS):
                if result := await self._attempt(compare_live=True):
                    return result
            result = await self._attempt(compare_live=False)
            assert result is not None
            return result

    def close(self) -> None:
        """Ends a check that runs."""
        if self._current is not None:
            self._current.interrupt()
        self._thread.shutdown(cancel_futures=True)
        while self._open:
            self._open.pop().close()  # nobody is left to do it

    async def _attempt(self, *, compare_live: bool) -> Reconciliation | None:
        """None if the counters are past the state that was found."""
        loop = asyncio.get_running_loop()
        snapshot = self._current = self._open_audit()
        self._open.add(snapshot)
        try:
            number = await loop.run_in_executor(self._thread, snapshot.commits)
            live = await self._live.copy_at(number) if compare_live else None
            if compare_live and live is None:
                return None
            return await loop.run_in_executor(self._thread, snapshot.reconcile, live)
        finally:
            self._current = None
            if snapshot in self._open:
                snapshot.interrupt()  # the caller may have gone in the middle
                self._thread.submit(self._let_go, snapshot)

    def _let_go(self, snapshot: Audit) -> None:
        snapshot.close()
        self._open.discard(snapshot)
