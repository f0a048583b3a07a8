"""What a worker tells of limits: of several workers, the sums are the gateway's."""

from collections import Counter

import pytest

from invoker.routing import upstream_sums as sums_module
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.limit_sums import IN_FLIGHT, LENGTH, LIMITED, LONGEST, MOST, LimitSums
from invoker.routing.limits import Limit, Slots
from invoker.routing.models import Model, Models
from invoker.routing.places import WAITING, Tallies


def test_each_worker_tells_its_part() -> None:
    """Of a limit without a queue none of one, and of one that only upstreams have no number."""
    tallies = Tallies(2)
    slots = Slots(tallies)
    made = []
    for number in range(2):
        queued = Model(single("http://a/"), 1.0, limit=Limit(3, 5))
        of_upstream = Model(Group([Endpoint("http://b/", "b", limit=Limit(2)), Endpoint("http://c/", "c")]), 1.0)
        models = Models({"m": queued, "n": of_upstream, "free": Model(single("http://d/"), 1.0)}, None)
        slots.give(models.limits())
        models.count_with(tallies.of(number))
        made.append(models)
    limits = {limit.name: limit for _, limit in made[0].limits()}
    (of_m,) = (limit for limit in limits.values() if limit.queue)
    (of_b,) = (limit for limit in limits.values() if not limit.queue)
    assert of_m.take()
    assert of_b.take()
    assert of_m.places.take(WAITING + of_m.slot, 5)
    told = [LimitSums().measured(models) for models in made]
    assert [one[IN_FLIGHT] for one in told] == [{of_m.name: 1.0, of_b.name: 1.0}, {of_m.name: 0.0, of_b.name: 0.0}]
    assert [one[LENGTH] for one in told] == [{of_m.name: 1.0}, {of_m.name: 0.0}]
    assert told[0][MOST] == told[1][MOST] == {of_m.name: 3.0, of_b.name: 2.0}
    assert told[0][LONGEST] == {of_m.name: 5.0}


def test_refused_calls_are_told_by_limit_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits come and go with the models file: those beyond the bound are one."""
    monkeypatch.setattr(sums_module, "MAX_NAMES", 2)
    limited = Counter(
        {("a", "limit"): 1, ("a", "queue_full"): 2, ("b", "limit"): 3, ("c", "limit"): 4, ("d", "limit"): 5}
    )
    found = LimitSums().counted(limited)
    assert found == {LIMITED: {"a": {"limit": 1, "queue_full": 2}, "b": {"limit": 3}, "__overflow__": {"limit": 9}}}
