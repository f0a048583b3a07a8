"""Families with labels of gateway workers' own numbers: which there are, what each of their labels is, and how the
numbers of several workers become one."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from shared.wire import UPSTREAM_BOUNDS_S, Labelled, LabelledGauges

MAX_VALUES = 1000
"""Of a family's first label, whoever reported them; all others together are `__overflow__`."""
MAX_SERIES = 16_384
"""Of one worker's family: as many as are remembered of it."""
Merge = Literal["sum", "mean", "min", "max"]
OTHER_VALUES = "__overflow__"
"""Stands for all values of a label beyond its bound."""
_SEPARATOR = " "
OVERFLOWED = OTHER_VALUES + _SEPARATOR
"""So labels begin that stand for others."""


class Counted(NamedTuple):
    """A family of counters. `label`, `second`: their names, the second one empty where there is none. `values`: those
    of the second that are there at 0 from the start; `beside`: the gauge whose first labels have them."""

    label: str
    second: str
    help: str
    values: tuple[str, ...] = ()
    beside: str = ""


class Spread(NamedTuple):
    """A family of histograms, reported as counts by upper bound, not cumulated, and their sum in µs."""

    label: str
    help: str
    bounds_s: tuple[float, ...]


class Measured(NamedTuple):
    """A family of gauges. `merge`: how those of several workers become one."""

    label: str
    help: str
    merge: Merge = "sum"


OUTCOMES = (
    "success",
    "busy",
    "client_disconnected",
    "connect",
    "draining",
    "gateway_error",
    "invalid_response",
    "timeout",
    "upstream_status",
    "usage_refused",
)

FALLBACKS = "model_fallbacks_total"
"""Counted by the ledger itself, of the records that it commits."""

COUNTED = {
    # name without `_total`
    "invoker_upstream_attempts": Counted(
        *("upstream", "outcome", "Attempts of calls at an upstream, by how they ended"),
        values=OUTCOMES,
        beside="invoker_upstream_healthy",
    ),
    "invoker_upstream_ejections": Counted(
        *("upstream", "", "Times that a worker left an upstream out, or left it out for longer, as it failed"),
        values=("",),
        beside="invoker_upstream_healthy",
    ),
    "invoker_limited": Counted(
        *("limit", "reason", "Calls that were refused as a limit of the models file, or of the gateway, was reached"),
        values=("limit", "queue_full", "queue_timeout", "shed"),
        beside="invoker_limit_in_flight",
    ),
    "model_fallbacks": Counted("model_id", "", "Invocations that another model served, by the one that was asked for"),
}
SPREADS = {
    "invoker_upstream_latency_seconds": Spread(
        "upstream",
        "Time from an attempt's begin until the head of its answer was there, in seconds",
        UPSTREAM_BOUNDS_S,
    ),
}
MEASURED = {
    "invoker_upstream_healthy": Measured(
        "upstream", "Whether an upstream gets calls: 1 if it does, 0 if it is left out, else the share of it", "mean"
    ),
    "invoker_upstream_outstanding": Measured("upstream", "Calls that an upstream has now"),
    "invoker_limit_in_flight": Measured("limit", "Calls that count for a limit now"),
    "invoker_limit_max_in_flight": Measured("limit", "How many calls a limit lets in at a time", "max"),
    "invoker_queue_length": Measured("limit", "Calls that wait for room now"),
    "invoker_queue_max_length": Measured("limit", "How many calls may wait for room", "max"),
}


def is_family(name: str) -> bool:
    """Whether these are counted by labels, as `name` is reported."""
    return name in SPREADS or (name.endswith("_total") and name.removesuffix("_total") in COUNTED)


def is_reported(name: str) -> bool:
    """Whether workers are asked for it."""
    return is_family(name) and name != FALLBACKS


def known_labelled(reported: Labelled) -> dict[str, dict[str, int]]:
    """Those of the families that may be kept, with both labels in one."""
    return {
        name: {
            joined(first, second): count
            for first, counts in of_family.items()
            for second, count in counts.items()
            if _SEPARATOR not in second
        }
        for name, of_family in reported.items()
        if is_reported(name)
    }


def joined(first: str, second: str) -> str:
    """Both values as one, as they are stored."""
    return f"{first}{_SEPARATOR}{second}"


def parted(both: str) -> tuple[str, str]:
    first, _, second = both.rpartition(_SEPARATOR)
    return first, second


def known_labelled_gauges(reported: LabelledGauges) -> LabelledGauges:
    return {name: values for name, values in reported.items() if name in MEASURED}


def merged(values: Iterable[float], how: Merge) -> float:
    """Of several workers; of one at least."""
    numbers = [*values]
    match how:
        case "sum":
            return sum(numbers)
        case "mean":
            return sum(numbers) / len(numbers)
        case "min":
            return min(numbers)
        case "max":
            return max(numbers)
