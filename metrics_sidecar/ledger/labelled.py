"""Totals by label as they are after each commit: what the views are told of it."""

import dataclasses

from metrics_sidecar.intake.reported import Counters
from metrics_sidecar.ledger.totals import ModelTotals, merged
from metrics_sidecar.ledger.transaction import Commit, State
from metrics_sidecar.metrics.exemplars import Buckets, latest
from shared.record import OVERFLOW_MODEL_ID

FATES = ("kept", "dropped")
"""What becomes of a record that can't be read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Committed:
    """What the transaction of this number changed, for the views: `totals` are what those of some labels have
    come to, `exemplars` and `counters` what was added, `created_us` when new labels began at zero,
    `unread` how many records could not be read, by what became of them."""

    number: int
    totals: dict[str, ModelTotals]
    exemplars: dict[str, Buckets]
    counters: Counters
    record_count: int
    duplicate_count: int
    missing_count: int
    duration_s: float
    created_us: dict[str, int] = dataclasses.field(default_factory=dict)
    clamped: dict[str, int] = dataclasses.field(default_factory=dict)
    unread: dict[str, int] = dataclasses.field(default_factory=dict)


class Labelled:
    """The labels there are, and the totals of each."""

    def __init__(self, state: State, max_models: int) -> None:
        self._max_models = max_models
        self._totals = dict(state.totals)
        # What `_totals` had before: held so that it ends here, and not when the event loop takes over the newer.
        self._outdated: dict[str, ModelTotals] = {}
        self._labels = set(self._totals) - {OVERFLOW_MODEL_ID}

    @property
    def room(self) -> int:
        """How many more models may get a label."""
        return max(self._max_models - len(self._labels), 0)

    def grant(self, models: list[str]) -> None:
        """These have a label now."""
        self._labels.update(models)

    def count(self, commit: Commit, granted: list[str], duration_s: float) -> Committed:
        """What this commit changed, with which these models got a label. Done on the ledger's thread, so that the event
        loop only takes it over."""
        self.grant(granted)
        totals: dict[str, ModelTotals] = {}
        created_us: dict[str, int] = {}
        for model_id, more in commit.totals.items():
            label = self._label(model_id)
            before = self._totals.get(label)
            if before is None:
                created_us[label] = commit.now_us
            else:
                self._outdated[label] = before
            totals[label] = merged(totals.get(label) or before, more)
        self._totals.update(totals)
        exemplars: dict[str, Buckets] = {}
        for model_id, buckets in commit.exemplars.items():
            label = self._label(model_id)
            exemplars[label] = latest(exemplars.get(label), buckets)
        return Committed(
            number=commit.number,
            totals=totals,
            exemplars=exemplars,
            counters=commit.counters,
            record_count=len(commit.records),
            duplicate_count=commit.duplicate_count,
            missing_count=sum(gap.count for gap in commit.gaps),
            duration_s=duration_s,
            created_us=created_us,
            clamped=commit.clamped,
            unread=dict(zip(FATES, (len(commit.unread), commit.unread_dropped_count), strict=True)),
        )

    def _label(self, model_id: str) -> str:
        return model_id if model_id in self._labels else OVERFLOW_MODEL_ID
