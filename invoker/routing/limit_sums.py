"""What a worker tells of limits, by name: its own part of what they have, and whom they refused."""

from collections import Counter
from collections.abc import Mapping

from invoker.routing.models import Models
from invoker.routing.places import WAITING
from invoker.routing.upstream_sums import Names
from shared.wire import Labelled, LabelledGauges

LIMITED = "invoker_limited_total"
IN_FLIGHT, MOST = "invoker_limit_in_flight", "invoker_limit_max_in_flight"
LENGTH, LONGEST = "invoker_queue_length", "invoker_queue_max_length"


class LimitSums:
    """Counts never go down; gauges are of the limits that there are now."""

    def __init__(self) -> None:
        self._names = Names()

    def counted(self, limited: Mapping[tuple[str, str], int]) -> Labelled:
        """Calls that were refused, by limit and reason."""
        found: dict[str, Counter[str]] = {}
        for (limit, reason), count in limited.items():
            found.setdefault(self._names.shown(limit), Counter())[reason] += count
        return {LIMITED: {name: dict(counts) for name, counts in found.items()}}

    def measured(self, models: Models) -> LabelledGauges:
        """Of two that share a name both together."""
        found: dict[str, Counter[str]] = {IN_FLIGHT: Counter(), MOST: Counter(), LENGTH: Counter(), LONGEST: Counter()}
        for _, limit in models.limits():
            name = self._names.shown(limit.name)
            found[IN_FLIGHT][name] += limit.places.own(limit.slot)
            if limit.max_in_flight is not None:
                found[MOST][name] += limit.most
            if limit.queue:
                found[LENGTH][name] += limit.places.own(WAITING + limit.slot)
                found[LONGEST][name] += limit.queue
        return {family: {name: float(value) for name, value in values.items()} for family, values in found.items()}
