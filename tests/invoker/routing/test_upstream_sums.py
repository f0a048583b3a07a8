"""What a worker tells of upstreams, by name: counts never go down, gauges are of what there is now."""

import gc
from collections import Counter

import pytest

from invoker.routing import upstream_sums as sums_module
from invoker.routing.ejection import FAILURES_IN_A_ROW
from invoker.routing.endpoints import Endpoint, Group, Member
from invoker.routing.models import Model, Models
from invoker.routing.tally import Spread
from invoker.routing.upstream_sums import ATTEMPTS, EJECTIONS, HEALTHY, LATENCY, OUTSTANDING, UpstreamSums


def group(*names: str) -> Group:
    return Group([Endpoint(f"http://{name}/", name) for name in names])


def models(**groups: Group) -> Models:
    return Models({name: Model(of_table, 1.0) for name, of_table in groups.items()}, None)


def member(of_table: Group, name: str) -> Member:
    (found,) = (each for each in of_table.members if each.endpoint.name == name)
    return found


def call(of_table: Group, name: str, outcome: str = "success", failure: str = "", head_us: int = 1000) -> None:
    """An attempt from begin to end."""
    at = member(of_table, name)
    at.outstanding += 1
    at.tally.heads.observe(head_us)
    of_table.give_back(at, outcome, failure, 0, 1)


def swapped(sums: UpstreamSums, before: Models, now: Models) -> None:
    sums.follow(before)
    now.carry_over(before)
    sums.follow(now)


def test_tables_that_name_the_same_upstream_are_summed() -> None:
    """An endpoint of several counts once in each."""
    one, other = group("a", "b"), group("a")
    for _ in range(FAILURES_IN_A_ROW):
        call(one, "a", "connect", "refused")
    call(other, "a")
    member(one, "b").outstanding += 1
    sums, known = UpstreamSums(), models(one=one, other=other)
    counted = sums.counted(known)
    assert counted[ATTEMPTS] == {"a": {"connect": FAILURES_IN_A_ROW, "success": 1}}
    assert counted[EJECTIONS] == {"a": {"": 1}}
    assert counted[LATENCY]["a"]["0.001"] == FAILURES_IN_A_ROW + 1
    assert sums.measured(known) == {HEALTHY: {"a": 0.5, "b": 1.0}, OUTSTANDING: {"a": 0.0, "b": 1.0}}


def test_what_the_file_has_no_longer_stays_counted() -> None:
    """With what its last calls come to, whenever they end; and once more if it comes back. Its gauges go."""
    first, sums = models(m=group("a", "b")), UpstreamSums()
    of_first = first.find("m")
    assert of_first is not None
    call(of_first.group, "a")
    call(of_first.group, "b")
    second = models(m=group("b"))
    swapped(sums, first, second)
    assert sums.counted(second)[ATTEMPTS] == {"a": {"success": 1}, "b": {"success": 1}}
    assert sums.measured(second).keys() == {HEALTHY, OUTSTANDING}
    assert sums.measured(second)[HEALTHY] == {"b": 1.0}
    call(of_first.group, "a", "timeout")  # it was on its way
    assert sums.counted(second)[ATTEMPTS]["a"] == {"success": 1, "timeout": 1}
    third = models(m=group("a", "b"))
    swapped(sums, second, third)
    of_third = third.find("m")
    assert of_third is not None
    call(of_third.group, "a")
    del first, of_first
    gc.collect()
    for _ in range(2):
        assert sums.counted(third)[ATTEMPTS] == {"a": {"success": 2, "timeout": 1}, "b": {"success": 1}}
    assert sums.counted(third)[LATENCY]["a"]["sum_us"] == 3000


def test_endpoints_that_are_gone_are_not_held() -> None:
    """However often the file is changed: their numbers are all that is kept."""
    sums, known = UpstreamSums(), models(m=group("a"))
    for number in range(50):
        changed = models(m=group(f"a{number % 3}"))
        swapped(sums, known, changed)
        known = changed
        gc.collect()
        sums.counted(known)
    assert len(sums._known) <= 2


def test_addresses_that_come_and_go_lose_no_count() -> None:
    """Nor have two of one: those of a name are one upstream."""
    one, sums = group("a"), UpstreamSums()
    known = models(m=one)
    sums.follow(known)
    for number in range(20):
        one.spread(lambda _endpoint: ("1", "2") if number % 2 else ("2", "3"))  # noqa: B023  # called at once
        sums.follow(known)
        for each in one.members:
            each.outstanding += 2
            one.give_back(each, "success", "", 0, 1)
            if number % 4:
                one.give_back(each, "success", "", 0, 1)
        gc.collect()
    one.spread(lambda _endpoint: ())
    assert sums.counted(known)[ATTEMPTS] == {"a": {"success": 20 * 2 + 15 * 2}}
    assert sums.measured(known) == {HEALTHY: {"a": 1.0}, OUTSTANDING: {"a": 0.0}}


def test_names_beyond_the_bound_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come and go with the file: those that were first keep theirs, and no count is lost."""
    monkeypatch.setattr(sums_module, "MAX_NAMES", 2)
    sums, first = UpstreamSums(), models(m=group("a", "b", "c", "d"))
    of_first = first.find("m")
    assert of_first is not None
    for name in "abcd":
        call(of_first.group, name)
    assert sums.measured(first)[HEALTHY] == {"a": 1.0, "b": 1.0, "__overflow__": 1.0}
    assert sums.counted(first)[ATTEMPTS] == {"a": {"success": 1}, "b": {"success": 1}, "__overflow__": {"success": 2}}
    second = models(m=group("e"))
    swapped(sums, first, second)
    assert sums.counted(second)[ATTEMPTS]["__overflow__"] == {"success": 2}
    assert sums.measured(second)[HEALTHY] == {"__overflow__": 1.0}


@pytest.mark.parametrize(("time_us", "bound"), [(0, "0.1"), (100_000, "0.1"), (100_001, "0.5"), (500_001, "+Inf")])
def test_a_duration_is_in_the_bucket_of_its_upper_bound(time_us: int, bound: str) -> None:
    spread = Spread((0.1, 0.5))
    spread.observe(time_us)
    assert +Counter(spread.report()) == +Counter({bound: 1, "sum_us": time_us})
