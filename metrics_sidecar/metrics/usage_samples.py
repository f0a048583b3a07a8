"""Samples of what a model used: tokens, cost, how long its streams took, and how long its calls waited for room. Models
without any have none of them."""

from collections.abc import Sequence
from itertools import accumulate

from metrics_sidecar.history.shown import NANO
from metrics_sidecar.ledger.usage import FIRST_TOKENS, PER_TOKENS, QUEUES, SPREADS, USAGE_MISSING, USAGE_PLACES, Spread
from metrics_sidecar.metrics.exemplars import Buckets, with_exemplars
from metrics_sidecar.metrics.templates import counter, histogram

USAGE_FAMILIES = (
    # name, what only the older format appends to it, type, help; in the order of `UsageSamples.fill`
    (
        "model_time_to_first_token_seconds",
        "",
        "histogram",
        "Of streams: time from their acceptance to their first output in seconds",
    ),
    (
        "model_time_per_output_token_seconds",
        "",
        "histogram",
        "Of streams: time from their first output to their last per output token after the first in seconds",
    ),
    (
        "model_queue_seconds",
        "",
        "histogram",
        "Of models with a queue: time that invocations waited for room in seconds",
    ),
    ("model_tokens", "_total", "counter", "Tokens as upstreams have reported them, by type"),
    ("model_cost_usd", "_total", "counter", "Cost of model invocations in US dollars"),
    (
        "model_usage_missing",
        "_total",
        "counter",
        "Successful invocations whose upstream should have reported tokens and did not",
    ),
)
TYPES = ("input", "cached_input", "output", "reasoning")

_TOKENS = [USAGE_PLACES[f"{type_}_tokens"] for type_ in TYPES]
_COST, _MISSING = USAGE_PLACES["cost_nano_usd"], USAGE_PLACES[USAGE_MISSING]
_NAMES = {
    FIRST_TOKENS: "model_time_to_first_token_seconds",
    PER_TOKENS: "model_time_per_output_token_seconds",
    QUEUES: "model_queue_seconds",
}


class UsageSamples:
    """The templates of one label."""

    __slots__ = ("_cost", "_missing", "_spreads", "_tokens")

    def __init__(self, labels: str, began: str) -> None:
        self._spreads = [histogram(_NAMES[spread], labels, spread.bounds_s, began) for spread in SPREADS]
        types = (f'{labels},type="{type_}"' for type_ in TYPES)
        self._tokens = "".join(counter("model_tokens", of_type, began) for of_type in types).encode()
        self._cost = counter("model_cost_usd", labels, began, "%d.%09d").encode()
        self._missing = counter("model_usage_missing", labels, began).encode()

    def fill(self, usage: Sequence[int], exemplars: Buckets) -> tuple[bytes, ...]:
        """One item per family; as `USAGE_NAMES`."""
        spreads = enumerate(zip(SPREADS, self._spreads, strict=True), 1)
        return (
            *(with_exemplars(_fill(*spread, usage), exemplars, number) for number, spread in spreads),
            self._tokens % tuple([usage[place] for place in _TOKENS]),
            self._cost % divmod(usage[_COST], NANO),
            self._missing % usage[_MISSING],
        )


def _fill(spread: Spread, template: bytes, usage: Sequence[int]) -> bytes:
    """Nothing without any call that has such a time."""
    cumulated = [*accumulate(spread.buckets(usage))]
    count = cumulated[-1]
    return template % (*cumulated, *divmod(spread.sum_us(usage), 1_000_000), count) if count else b""
