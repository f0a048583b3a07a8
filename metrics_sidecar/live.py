"""What the sidecar knows at this moment: totals as committed, and what connected workers report.

Belongs to the event loop. The exposition shows it; nothing here is counted that isn't in the ledger.
"""

from collections.abc import Iterable

from metrics_sidecar.ledger import Committed, Counters, State
from metrics_sidecar.totals import ModelTotals, merge_into
from shared.record import OVERFLOW_MODEL_ID
from shared.wire import MAX_MODELS, FrameError


class WorkerShare:
    """One connected worker's part of the live numbers; gone when its connection is."""

    def __init__(self, models: Iterable[str]) -> None:
        self.models = frozenset(models)
        self.in_flight: dict[str, int] = {}
        self.gauges: dict[str, float] = {}

    def report(self, in_flight: dict[str, int], gauges: dict[str, float]) -> None:
        """Take over what changed. `FrameError` past the bound on models in flight."""
        for model_id, count in in_flight.items():
            if count:
                self.in_flight[model_id] = count
            else:
                self.in_flight.pop(model_id, None)
        if len(self.in_flight) > MAX_MODELS:
            raise FrameError(f"more than {MAX_MODELS} models in flight")
        self.gauges.update(gauges)


class Live:
    """Totals by label, counters and live workers."""

    def __init__(self, state: State, max_models: int) -> None:
        self.totals = state.totals
        self.counters: Counters = state.counters
        self.shares: set[WorkerShare] = set()
        self._max_models = max_models

    def apply(self, committed: Committed) -> None:
        merge_into(self.totals, committed.totals)
        for name, values in committed.counters.items():
            mine = self.counters.setdefault(name, {})
            for label, value in values.items():
                mine[label] = mine.get(label, 0) + value

    def snapshot(self) -> tuple[dict[str, ModelTotals], dict[str, int]]:
        """Totals and calls in flight by label. A model that is only known or in flight counts 0 so far."""
        totals = dict(self.totals)
        active: dict[str, int] = {}
        for share in self.shares:
            for model_id in share.models:
                self._label(totals, model_id)
            for model_id, count in share.in_flight.items():
                label = self._label(totals, model_id)
                active[label] = active.get(label, 0) + count
        return totals, active

    def gauges(self) -> dict[str, float]:
        """Sums over the connected workers."""
        sums: dict[str, float] = {}
        for share in self.shares:
            for name, value in share.gauges.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def _label(self, totals: dict[str, ModelTotals], model_id: str) -> str:
        if model_id in totals:
            return model_id
        labelled = len(totals) - (OVERFLOW_MODEL_ID in totals)
        label = model_id if labelled < self._max_models else OVERFLOW_MODEL_ID
        totals.setdefault(label, ModelTotals())
        return label
