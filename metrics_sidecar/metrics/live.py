"""What the sidecar knows at this moment: totals as committed, and what connected workers report.

Belongs to the event loop. The exposition shows it; nothing here is counted that isn't in the ledger.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from metrics_sidecar.intake.reported import Counters, known_gauges
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.totals import NO_TOTALS, ModelTotals
from metrics_sidecar.ledger.transaction import State
from metrics_sidecar.metrics.exemplars import Buckets, latest
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID

MAX_IN_FLIGHT_MODELS = 50_000
"""Models in flight, added up over all connections; those beyond it are not shown."""


class LiveCopy(NamedTuple):
    """The cumulative numbers as they were shown after one transaction."""

    totals: dict[str, ModelTotals]
    counters: Counters


class Snapshot(NamedTuple):
    """What there is to show at one moment, by label: totals, calls in flight, exemplars, when its totals were zero."""

    totals: dict[str, ModelTotals]
    active: dict[str, int]
    exemplars: dict[str, Buckets]
    created_us: dict[str, int]


class WorkerShare:
    """One connected worker's part of the live numbers; gone when its connection is."""

    def __init__(self) -> None:
        self.in_flight: dict[str, int] = {}
        self.gauges: dict[str, float] = {}


class Live:
    """Totals by label, counters and live workers."""

    def __init__(self, state: State, max_models: int) -> None:
        self.totals = state.totals
        self.exemplars: dict[str, Buckets] = {}
        self.created_us = state.created_us
        self.counters: Counters = state.counters
        self.shares: set[WorkerShare] = set()
        self._number = state.number
        self._max_models = max_models
        self._known: dict[str, None] = {}
        self._in_flight_models = 0
        self._awaited: dict[int, list[asyncio.Future[LiveCopy | None]]] = {}

    def apply(self, committed: Committed) -> None:
        """Count what a transaction has added. Transactions come in order, and none is left out."""
        self.totals.update(committed.totals)
        self.created_us.update(committed.created_us)
        for label, buckets in committed.exemplars.items():
            self.exemplars[label] = latest(self.exemplars.get(label), buckets)
        for name, values in committed.counters.items():
            mine = self.counters.setdefault(name, {})
            for label, value in values.items():
                mine[label] = min(mine.get(label, 0) + value, MAX_COUNT)
        self._number = committed.number
        for future in self._awaited.pop(committed.number, []):
            if not future.done():
                future.set_result(self._copy())

    def reload(self, state: State) -> None:
        """Show what the store has, in the place of all that was counted here."""
        self.totals, self.counters, self._number = state.totals, state.counters, state.number
        self.created_us = state.created_us
        for number in [number for number in self._awaited if number <= state.number]:
            for future in self._awaited.pop(number):
                if not future.done():
                    future.set_result(self._copy() if number == state.number else None)

    async def copy_at(self, number: int) -> LiveCopy | None:
        """The numbers as they are after a transaction that the store has; None if they are past it already."""
        if number < self._number:
            return None
        if number == self._number:
            return self._copy()
        future: asyncio.Future[LiveCopy | None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(number, []).append(future)
        return await future

    def join(self, models: Iterable[str]) -> WorkerShare:
        """A worker has connected, and knows these models."""
        self.know(models)
        share = WorkerShare()
        self.shares.add(share)
        return share

    def know(self, models: Iterable[str]) -> None:
        """From now on these models count 0, at the least."""
        for model_id in models:
            if len(self._known) >= self._max_models:
                break
            self._known[model_id] = None

    def leave(self, share: WorkerShare) -> None:
        """Its connection is gone. Idempotent."""
        if share in self.shares:
            self.shares.discard(share)
            self._in_flight_models -= len(share.in_flight)

    def report(self, share: WorkerShare, in_flight: dict[str, int], gauges: dict[str, float]) -> None:
        """Take over what changed of a connected worker's numbers."""
        mine = share.in_flight
        self._in_flight_models -= len(mine)
        for model_id, count in in_flight.items():
            if not count:
                mine.pop(model_id, None)
            elif model_id in mine or self._in_flight_models + len(mine) < MAX_IN_FLIGHT_MODELS:
                mine[model_id] = count
        self._in_flight_models += len(mine)
        share.gauges.update(known_gauges(gauges))

    def snapshot(self) -> Snapshot:
        """All labels. A model that is only known or in flight counts 0 so far."""
        totals = dict(self.totals)
        active: dict[str, int] = {}
        for model_id in self._known:
            self._label(totals, model_id)
        for share in self.shares:
            for model_id, count in share.in_flight.items():
                label = self._label(totals, model_id)
                active[label] = active.get(label, 0) + count
        return Snapshot(totals, active, dict(self.exemplars), dict(self.created_us))

    def gauges(self) -> dict[str, float]:
        """Sums over the connected workers."""
        sums: dict[str, float] = {}
        for share in self.shares:
            for name, value in share.gauges.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def _copy(self) -> LiveCopy:
        return LiveCopy(dict(self.totals), {name: dict(values) for name, values in self.counters.items()})

    def _label(self, totals: dict[str, ModelTotals], model_id: str) -> str:
        if model_id in totals:
            return model_id
        labelled = len(totals) - (OVERFLOW_MODEL_ID in totals)
        label = model_id if labelled < self._max_models else OVERFLOW_MODEL_ID
        totals.setdefault(label, NO_TOTALS)
        return label
