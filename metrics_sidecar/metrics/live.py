"""What the sidecar knows at this moment: totals as committed, and what connected workers report.

Belongs to the event loop. The exposition shows it; nothing here is counted that isn't in the ledger.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from metrics_sidecar.intake.families import (
    MAX_VALUES,
    MEASURED,
    OTHER_VALUES,
    OVERFLOWED,
    is_family,
    known_labelled_gauges,
    merged,
)
from metrics_sidecar.intake.reported import REPORTED_GAUGES, Counters, known_gauges
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.totals import NO_TOTALS, ModelTotals
from metrics_sidecar.ledger.transaction import State
from metrics_sidecar.metrics.exemplars import Buckets, latest
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID
from shared.wire import LabelledGauges

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


class Families(NamedTuple):
    """Counters by name and labels, and gauges: family → label → value."""

    counters: Counters
    gauges: dict[str, dict[str, float]]


class WorkerShare:
    """One connected worker's part of the live numbers; gone when its connection is."""

    def __init__(self) -> None:
        self.in_flight: dict[str, int] = {}
        self.gauges: dict[str, float] = {}
        self.labelled: dict[str, dict[str, float]] = {}


class Live:
    """Totals by label, counters and live workers."""

    def __init__(self, state: State, max_models: int) -> None:
        self.totals = state.totals
        self.exemplars: dict[str, Buckets] = {}
        self.created_us = state.created_us
        self.counters: Counters = state.counters
        self.shares: dict[WorkerShare, None] = {}  # as they joined
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
        self.shares[share] = None
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
            del self.shares[share]
            self._in_flight_models -= len(share.in_flight)

    def report(
        self,
        share: WorkerShare,
        in_flight: dict[str, int],
        gauges: dict[str, float],
        labelled: LabelledGauges | None = None,
    ) -> None:
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
        for name, values in known_labelled_gauges(labelled or {}).items():
            of_family = share.labelled.setdefault(name, {})
            for label, value in values.items():
                if value is None:
                    of_family.pop(label, None)
                elif label in of_family or len(of_family) <= MAX_VALUES:  # `__overflow__` is one more
                    of_family[label] = value

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
        """Of all connected workers together."""
        found: dict[str, list[float]] = {}
        for share in self.shares:
            for name, value in share.gauges.items():
                found.setdefault(name, []).append(value)
        return {name: merged(values, REPORTED_GAUGES[name].merge) for name, values in found.items()}

    @property
    def overflows(self) -> list[str]:
        """In which families some values have no label of their own; in words for `/readyz`."""
        return [
            f"{name} has more than {MAX_VALUES} values of a label: the others are under {OTHER_VALUES}"
            for name, values in self.counters.items()
            if is_family(name) and any(both.startswith(OVERFLOWED) for both in values)
        ]

    def families(self) -> Families:
        """As committed, and of all connected workers together."""
        found: dict[str, dict[str, list[float]]] = {}
        for share in self.shares:
            for name, values in share.labelled.items():
                of_family = found.setdefault(name, {})
                for label, value in values.items():
                    has_room = len(of_family) - (OTHER_VALUES in of_family) < MAX_VALUES
                    shown = label if label in of_family or has_room else OTHER_VALUES
                    of_family.setdefault(shown, []).append(value)
        gauges = {
            name: {label: merged(values, MEASURED[name].merge) for label, values in of_family.items()}
            for name, of_family in found.items()
        }
        return Families(self.counters, gauges)

    def _copy(self) -> LiveCopy:
        return LiveCopy(dict(self.totals), {name: dict(values) for name, values in self.counters.items()})

    def _label(self, totals: dict[str, ModelTotals], model_id: str) -> str:
        if model_id in totals:
            return model_id
        labelled = len(totals) - (OVERFLOW_MODEL_ID in totals)
        label = model_id if labelled < self._max_models else OVERFLOW_MODEL_ID
        totals.setdefault(label, NO_TOTALS)
        return label
