"""Sums over invocations: what may be asked, and the table that answers. A view is one question and what it shows."""

from typing import Literal

import msgspec

from metrics_sidecar.history.windows import Window
from metrics_sidecar.ledger.usage import FIRST_TOKEN, PER_TOKEN, QUEUE, USAGE_MISSING
from shared.record import COUNTED, SUMMED

Measure = str
"""One of `MEASURES`."""
ADDED_UP: tuple[Measure, ...] = tuple(name for name in SUMMED if name != "latency_us")
"""Fields of which the sum is all that is kept, as the table of fields has them."""
CALLS: tuple[Measure, ...] = (
    "success_count",
    "failure_count",
    "latency_us",
    "min_latency_us",
    "max_latency_us",
    "last_timestamp_us",
)
"""Of all calls, whatever they are."""
MEASURES: tuple[Measure, ...] = (*CALLS, *ADDED_UP, USAGE_MISSING)
SINCE_THE_BEGINNING: tuple[Measure, ...] = (*CALLS, *COUNTED, USAGE_MISSING)
"""What is known of all that ever was, whatever was removed since."""

LATENCY: Measure = "latency_us"
SPREADS: tuple[Measure, ...] = (LATENCY, FIRST_TOKEN, PER_TOKEN, QUEUE)
"""Of which percentiles are known."""

ALL = ""
"""In place of a model's id: all together. No model has it."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of `models` (true ids, or the `__overflow__` of all without a label) and of those whose id begins with one
    of `prefixes`; of all without any. `by` model (by label, without any of either) or together. Of a window, as one or
    in steps, with which it begins and ends; or since the beginning (None), of which only some measures are known.
    `percents`: which percentiles of `spreads`, too; `errors`: failures by type."""

    models: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    window: Window | None = None
    step_minutes: int = 0
    by: Literal["model_id"] | None = "model_id"
    measures: tuple[Measure, ...] = SINCE_THE_BEGINNING
    percents: tuple[int, ...] = ()
    spreads: tuple[Measure, ...] = (LATENCY,)
    errors: bool = False

    def __post_init__(self) -> None:
        if self.window is None and (self.step_minutes or self.percents or {*self.measures} - {*SINCE_THE_BEGINNING}):
            raise ValueError("steps, percentiles and sizes are known of a window only")


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A row for each group (model, label or `ALL`) and step that has records, a column for each measure. Rows come in
    the order of their steps. `window`: of which time they are, for what is long ago is known by hours only, and later
    by days. `minutes`: when a row's step begins; 0 without steps. Integers beyond 2⁶³ - 1, which only forged records
    can reach, stay there; percentiles, in µs, are within 1 %, and None of what no record has."""

    window: Window | None
    groups: list[str]
    minutes: list[int]
    sums: dict[Measure, list[int]]
    percentiles_us: dict[Measure, dict[int, list[float | None]]]
    errors: list[dict[str, int]]
