"""What an endpoint's probes come to, alone and together with what its calls do."""

from collections.abc import Callable
from random import Random

import pytest

from invoker.routing.ejection import FAILURES_IN_A_ROW, FIRST_US, NEW, Health, after, may_eject, tried, unwell, well
from invoker.routing.probing import JITTER, HealthCheck, Probed, after_probe, pause_s
from tests.invoker.routing.simulator import CHECK, SECOND_US, Place, Simulation, steady

MS = 1000


def from_to(since_s: float, until_s: float) -> Callable[[int], bool]:
    return lambda now_us: since_s * SECOND_US <= now_us < until_s * SECOND_US


def out_by_calls(now_us: int) -> Health:
    health = NEW
    for _ in range(FAILURES_IN_A_ROW):
        health = after(health, "refused", now_us, now_us)
    return health


@pytest.mark.parametrize(
    ("results", "well_after"),
    [
        ("x", "+"),
        ("xx+xx+xx", "++++++++"),
        ("xxx", "++-"),
        ("xxxx+x++", "++-----+"),
        ("+xxx++xxx", "+++--++" + "+-"),
    ],
)
def test_it_takes_some_in_a_row(results: str, well_after: str) -> None:
    """Three failures, two successes; anything between them begins anew."""
    probed, found = Probed(), ""
    for at, result in enumerate(results):
        probed = after_probe(probed, "" if result == "+" else "refused", at + 1, CHECK)
        found += "+" if probed.is_well else "-"
        assert (probed.at_us, bool(probed.failure)) == (at + 1, result == "x")
    assert found == well_after


def test_how_many_is_as_the_table_says() -> None:
    check = HealthCheck("/", failures=1, successes=1)
    failed = after_probe(Probed(), "refused", 1, check)
    assert (failed.is_well, after_probe(failed, "", 2, check).is_well) == (False, True)


def test_pauses_are_around_the_interval() -> None:
    die = Random(1)
    pauses = [pause_s(HealthCheck("/", interval_s=10), die) for _ in range(1000)]
    assert 10 * (1 - JITTER) <= min(pauses) < 9.1
    assert 10.9 < max(pauses) <= 10 * (1 + JITTER)


def test_no_call_is_the_trial_of_one_whose_probes_fail() -> None:
    """Nor does a call bring it back that was made as none was in."""
    out = unwell(NEW, "answered 503", 5)
    assert (out.is_in, out.is_unwell, out.is_due(1 << 61), out.reason) == (
        *(False, True, False), "its probes fail, the last: answered 503"
    )  # fmt: skip
    assert after(out, "", 6, 7) == out
    assert after(out, "refused", 6, 7) == out
    assert unwell(out, "", 8) == out  # one success is not enough
    assert unwell(out, "refused", 8) == out._replace(reason="its probes fail, the last: refused")
    assert well(out, "", 9).is_in


def test_what_calls_did_stays() -> None:
    """Probes end no ejection, begin none, and take none's count."""
    out = out_by_calls(SECOND_US)
    assert well(out, "", SECOND_US) == out
    unwell_too = unwell(tried(out), "refused", SECOND_US)
    assert well(unwell(unwell_too, "500", SECOND_US), "", 2 * SECOND_US) == out
    due = well(unwell_too, "", SECOND_US + 2 * FIRST_US)
    assert due.is_due(SECOND_US + 2 * FIRST_US)
    assert (unwell(NEW, "refused", 1).ejections, well(unwell(NEW, "refused", 1), "", 2).ejections) == (0, 0)
    back = after(due, "", SECOND_US + 2 * FIRST_US, SECOND_US + 2 * FIRST_US)
    assert well(unwell(back, "refused", 1), "", 2).ejections == 1


def test_those_count_for_how_many_may_be_out() -> None:
    """None is put out by what its calls do where half are out by their probes."""
    failing = [Place(steady(50 * MS, from_to(60, 1000)), is_well=lambda _now: True) for _ in range(2)]
    unwell_ones = [Place(steady(50 * MS), is_well=lambda _now: False) for _ in range(2)]
    simulation = Simulation([*failing, *unwell_ones], rate=100)
    simulation.run(200)
    assert [place.health.is_unwell for place in simulation.places] == [False, False, True, True]
    assert (simulation.most_out, all(place.health.is_in for place in failing)) == (2, True)
    assert not may_eject(2, 4)


def test_an_endpoint_that_dies_is_out_though_hardly_called_and_comes_back() -> None:
    """With a call every ten seconds, five failures in a row would take long."""
    dead = Place(steady(50 * MS, from_to(100, 400)), is_well=lambda now_us: not from_to(100, 400)(now_us))
    simulation = Simulation([dead, Place(steady(50 * MS), is_well=lambda _now: True)], rate=0.1)
    simulation.run(2000)
    assert dead.calls_between(118 * SECOND_US, 400 * SECOND_US) == 0
    assert dead.calls_between(412 * SECOND_US, 2000 * SECOND_US) > 40
    assert len(dead.turned_us) == 2


def test_all_may_be_out_and_are_called_all_the_same() -> None:
    """A path that none of them has takes nobody's answer away."""
    places = [Place(steady(50 * MS), is_well=lambda _now: False) for _ in range(3)]
    simulation = Simulation(places, rate=100)
    simulation.run(60)
    assert simulation.most_out == 3
    assert simulation.outcomes == {"": sum(simulation.outcomes.values())}
    assert min(place.calls_between(30 * SECOND_US, 60 * SECOND_US) for place in places) > 800


def test_probes_that_flap_put_nobody_out() -> None:
    """Two fail, one succeeds, again and again."""
    numbers = iter(range(10_000))
    flapping = Place(steady(50 * MS), is_well=lambda _now: next(numbers) % 3 == 2)
    places = [flapping, Place(steady(50 * MS), is_well=lambda _now: True)]
    Simulation(places, rate=10).run(600)
    assert (flapping.turned_us, flapping.health.is_in) == ([], True)
    assert len(flapping.began_us) > 2500


def test_an_endpoint_that_flaps_doesnt_come_and_go() -> None:
    """It is away for half a minute, and there for half a minute: its probes don't undo what its calls put it out for,
    which is ever longer."""

    def away(now_us: int) -> bool:
        return now_us // (30 * SECOND_US) % 2 == 0

    for rate in (10, 100):
        flapping = Place(steady(50 * MS, away), is_well=lambda now_us: not away(now_us))
        places = [flapping, *(Place(steady(50 * MS), is_well=lambda _now: True) for _ in range(2))]
        simulation = Simulation(places, rate=rate)
        simulation.run(900)
        assert simulation.outcomes["500"] < 20 * FAILURES_IN_A_ROW
        assert len(flapping.turned_us) <= 2 * 900 / 60 + 1  # as often as it does, and no more


def test_one_that_says_that_it_is_well_and_fails_is_out_ever_longer() -> None:
    """Its probes don't bring it back."""
    wedged = Place(steady(50 * MS, from_to(0, 10_000)), is_well=lambda _now: True)
    places = [wedged, Place(steady(50 * MS), is_well=lambda _now: True)]
    simulation = Simulation(places, rate=30)
    simulation.run(600)
    assert simulation.outcomes["500"] < FAILURES_IN_A_ROW + 10
