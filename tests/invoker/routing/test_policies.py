"""What balancing, ejection and the retry budget come to together, over thousands of virtual calls."""

import itertools
from collections.abc import Callable
from random import Random

import pytest

from invoker.routing.balancing import choose
from invoker.routing.ejection import (
    CALM_US,
    FAILURES_IN_A_ROW,
    FIRST_US,
    JITTER,
    LONGEST_US,
    MIN_CALLS,
    NEW,
    Health,
    after,
    may_eject,
    tried,
    untold,
)
from invoker.routing.retry_budget import AT_LEAST, PART, SLOT_US, SLOTS, RetryBudget
from tests.invoker.routing.simulator import SECOND_US, Place, Simulation, steady

MS = 1000


def from_to(since_s: float, until_s: float) -> Callable[[int], bool]:
    return lambda now_us: since_s * SECOND_US <= now_us < until_s * SECOND_US


def shares(places: list[Place]) -> list[float]:
    total = sum(len(place.began_us) for place in places)
    return [len(place.began_us) / total for place in places]


def test_equal_endpoints_get_equal_shares() -> None:
    places = [Place(steady(50 * MS)) for _ in range(4)]
    Simulation(places, rate=500).run(30)
    assert shares(places) == pytest.approx([0.25] * 4, abs=0.02)


def test_weights_are_shares() -> None:
    """Of endpoints that answer as fast under their load."""
    places = [Place(steady(50 * MS), weight=weight) for weight in (1, 3)]
    Simulation(places, rate=500).run(30)
    assert shares(places) == pytest.approx([0.25, 0.75], abs=0.03)


def test_a_slow_endpoint_gets_less_and_not_nothing() -> None:
    """Ten times as slow: its calls outstanding are those of the others, and so its share is about a tenth of theirs."""
    places = [Place(steady(500 * MS)), Place(steady(50 * MS)), Place(steady(50 * MS))]
    Simulation(places, rate=200).run(60)
    slow, *fast = shares(places)
    assert 0.01 < slow < 0.15
    assert fast[0] == pytest.approx(fast[1], abs=0.03)


def test_a_dead_endpoint_is_left_out_and_comes_back() -> None:
    """It gets some calls until it is out, then trials alone, ever farther apart; its share when it answers again."""
    dead = Place(steady(50 * MS, from_to(10, 70)))
    places = [dead, Place(steady(50 * MS)), Place(steady(50 * MS))]
    simulation = Simulation(places, rate=300, attempts=3)
    simulation.run(300)
    assert dead.calls_between(11 * SECOND_US, 70 * SECOND_US) <= 5  # after 5, 10, 20, 40 s
    assert dead.calls_between(200 * SECOND_US, 300 * SECOND_US) / (300 * 100) == pytest.approx(1 / 3, abs=0.03)
    assert simulation.outcomes == {"": sum(simulation.outcomes.values())}  # each was tried elsewhere
    assert simulation.most_out == 1


def test_not_all_are_ever_out() -> None:
    """Of four that all fail, two are out at most; of two one; and one alone never is."""
    for count, most in ((1, 0), (2, 1), (3, 1), (4, 2)):
        places = [Place(steady(50 * MS, from_to(0, 1000))) for _ in range(count)]
        simulation = Simulation(places, rate=100)
        simulation.run(60)
        assert simulation.most_out == most


def test_a_full_outage_is_not_made_worse() -> None:
    """Further attempts are a fifth of the calls at most, however many each may have."""
    places = [Place(steady(50 * MS, from_to(0, 1000))) for _ in range(3)]
    simulation = Simulation(places, rate=500, attempts=5)
    simulation.run(60)
    assert simulation.retries <= PART * sum(simulation.outcomes.values()) * 1.01


def test_an_endpoint_that_flaps_is_out_ever_longer() -> None:
    """Each second it answers, each other it doesn't: after some minutes it is hardly asked."""
    flapping = Place(steady(50 * MS, lambda now_us: now_us // SECOND_US % 2 == 0))
    places = [flapping, Place(steady(50 * MS)), Place(steady(50 * MS))]
    Simulation(places, rate=300).run(600)
    first, last = (flapping.calls_between(at * SECOND_US, (at + 120) * SECOND_US) for at in (0, 480))
    assert last < first / 3


@pytest.mark.parametrize(("failing", "most_out"), [(3, 1), (1, 0)])
def test_a_part_of_failures_puts_an_endpoint_out(failing: int, most_out: int) -> None:
    """Of three in five, never five are in a row; it is out all the same, and with one in five it isn't."""
    numbers = itertools.count()
    some = Place(lambda _now, _die: (50 * MS, "500" if next(numbers) % 5 < failing else ""))
    simulation = Simulation([some, Place(steady(50 * MS))], rate=100)
    simulation.run(60)
    assert simulation.most_out == most_out


def test_shares_do_not_swing() -> None:
    """In no second does one get far more than its part."""
    places = [Place(steady(50 * MS)) for _ in range(4)]
    Simulation(places, rate=1000).run(20)
    for second in range(2, 20):
        counts = [place.calls_between(second * SECOND_US, (second + 1) * SECOND_US) for place in places]
        assert max(counts) < 1.5 * sum(counts) / 4


def test_a_later_tier_is_for_when_the_first_is_out() -> None:
    """All of its calls, and no other; and a call that fails in the first one is tried there."""
    first, second = Place(steady(50 * MS, from_to(10, 40))), Place(steady(50 * MS), priority=1)
    simulation = Simulation([first, second], rate=100, attempts=2)
    simulation.run(200)
    assert second.calls_between(0, 10 * SECOND_US) == 0
    assert second.calls_between(12 * SECOND_US, 40 * SECOND_US) > 2500
    assert second.calls_between(120 * SECOND_US, 200 * SECOND_US) == 0
    assert list(simulation.outcomes) == [""]


# One by one.


def failed(health: Health, times: int, now_us: int) -> Health:
    for _ in range(times):
        health = after(health, "refused", now_us, now_us)
    return health


def test_a_trial_brings_it_back_or_puts_it_out_for_longer() -> None:
    out = failed(NEW, FAILURES_IN_A_ROW, SECOND_US)
    assert (out.is_in, out.ejected_until_us, out.reason) == (
        False, SECOND_US + FIRST_US, "5 failures in a row, the last: refused"
    )  # fmt: skip
    due_us = out.ejected_until_us
    assert [out.is_due(due_us - 1), out.is_due(due_us), tried(out).is_due(due_us)] == [False, True, False]
    again = after(tried(out), "refused", due_us, due_us + 5)
    assert again.ejected_until_us == due_us + 5 + 2 * FIRST_US
    assert after(tried(out), "", due_us, due_us + 5).is_in
    assert untold(tried(out), due_us).is_due(due_us)  # its caller left: another is the trial
    assert untold(tried(out), 0) == tried(out)  # that was not the trial


def test_what_began_before_says_nothing_of_what_is_out() -> None:
    out = failed(NEW, FAILURES_IN_A_ROW, SECOND_US)
    assert after(out, "", 0, 2 * SECOND_US) == out
    assert after(out, "refused", 0, 2 * SECOND_US) == out
    assert after(out, "refused", 2 * SECOND_US, 3 * SECOND_US) == out  # nor one that was made though it was out
    assert after(out, "", 2 * SECOND_US, 3 * SECOND_US).is_in


def test_no_time_is_longer_than_five_minutes() -> None:
    health, now_us = failed(NEW, FAILURES_IN_A_ROW, SECOND_US), SECOND_US
    for _ in range(40):
        now_us = health.ejected_until_us
        health = after(tried(health), "refused", now_us, now_us, jitter=1.0)
    assert health.ejected_until_us - now_us == round(LONGEST_US * (1 + JITTER))


def test_a_calm_time_is_a_new_beginning() -> None:
    out = failed(NEW, FAILURES_IN_A_ROW, SECOND_US)
    back = after(tried(out), "", out.ejected_until_us, out.ejected_until_us)
    soon = failed(back, FAILURES_IN_A_ROW, back.ejected_us + 1)
    late = failed(back, FAILURES_IN_A_ROW, back.ejected_us + CALM_US)
    assert (soon.ejections, late.ejections) == (2, 1)


def test_who_may_not_be_out_stays() -> None:
    health = NEW
    for _ in range(2 * MIN_CALLS):
        health = after(health, "refused", 1, 1, may_eject=False)
    assert health.is_in
    assert [may_eject(0, 1), may_eject(0, 2), may_eject(1, 2), may_eject(1, 3), may_eject(1, 4)] == [
        *(False, True, False, False, True)
    ]


def test_another_endpoint_comes_first() -> None:
    """The next tier, too, before one that was tried; and when all were, it begins anew, with those that are in."""
    a, b, later = Place(steady(1)), Place(steady(1)), Place(steady(1), priority=1)
    die = Random(1)
    assert {choose([a, b, later], 0, die) for _ in range(50)} == {a, b}
    assert {choose([a, b, later], 0, die, [a]) for _ in range(50)} == {b}
    assert {choose([a, b, later], 0, die, [a, b]) for _ in range(50)} == {later}
    assert {choose([a, b, later], 0, die, [a, b, later]) for _ in range(50)} == {a, b}
    a.health = failed(NEW, FAILURES_IN_A_ROW, SECOND_US)
    assert {choose([a, b, later], SECOND_US, die, [a, b, later]) for _ in range(50)} == {b}


def test_an_empty_budget_fills_with_calls() -> None:
    budget, now_us = RetryBudget(), 5 * SLOT_US
    assert [budget.take(now_us) for _ in range(AT_LEAST + 1)] == [True] * AT_LEAST + [False]
    for _ in range(100):
        budget.note_call(now_us)
    assert sum(budget.take(now_us) for _ in range(100)) == 100 * PART - AT_LEAST
    assert not budget.take(now_us + (SLOTS - 1) * SLOT_US)
    assert budget.take(now_us + SLOTS * SLOT_US)
