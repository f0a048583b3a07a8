"""Virtual calls against virtual endpoints, in virtual time: thousands of them in a moment."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from invoker.routing.balancing import choose
from invoker.routing.ejection import NEW, Health, after, may_eject, tried, unwell, well
from invoker.routing.probing import HealthCheck, Probed, after_probe, pause_s
from invoker.routing.retry_budget import RetryBudget

SECOND_US = 1_000_000
CHECK = HealthCheck("/health")
Behaviour = Callable[[int, Random], tuple[int, str]]
"""At a moment: how long an answer takes in µs, and why it fails; empty for a success."""


def steady(latency_us: int, failing: Callable[[int], bool] = lambda _now: False) -> Behaviour:
    """Around so long; at these moments it fails at once."""

    def behave(now_us: int, die: Random) -> tuple[int, str]:
        return (1000, "500") if failing(now_us) else (round(latency_us * die.uniform(0.5, 1.5)), "")

    return behave


@dataclass(eq=False)
class Place:
    """An endpoint."""

    behave: Behaviour
    weight: int = 1
    priority: int = 0
    outstanding: int = 0
    health: Health = NEW
    began_us: list[int] = field(default_factory=list)
    """Of all calls that it got."""
    is_well: Callable[[int], bool] | None = None
    """What a probe finds at a moment; without it there are no probes."""
    probed: Probed = field(default_factory=Probed)
    turned_us: list[int] = field(default_factory=list)
    """When its probes put it out, or in again."""

    def calls_between(self, since_us: int, until_us: int) -> int:
        return sum(since_us <= began < until_us for began in self.began_us)


@dataclass
class Simulation:
    """Calls of one worker come at random, at so many per second, and each is tried so often."""

    places: Sequence[Place]
    rate: float
    attempts: int = 1
    seed: int = 1
    now_us: int = SECOND_US
    outcomes: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    most_out: int = 0

    def __post_init__(self) -> None:
        self._die = Random(self.seed)
        self._budget = RetryBudget()
        self._numbers = itertools.count()
        self._due: list[tuple[int, int, Callable[[], None]]] = []

    def run(self, seconds: float) -> None:
        """All that begins within so long; and ends, however late."""
        until_us = self.now_us + round(seconds * SECOND_US)
        at_us = self.now_us
        while (at_us := at_us + round(self._die.expovariate(self.rate) * SECOND_US)) < until_us:
            self._at(at_us, self._arrive)
        for place in self.places:
            if place.is_well is not None:
                self._plan_probe(place, until_us)
        while self._due:
            self.now_us, _, do = heapq.heappop(self._due)
            do()
        self.now_us = max(self.now_us, until_us)

    def _at(self, at_us: int, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at_us, next(self._numbers), do))

    def _plan_probe(self, place: Place, until_us: int) -> None:
        at_us = self.now_us + round(pause_s(CHECK, self._die) * SECOND_US)
        if at_us < until_us:
            self._at(at_us, lambda: self._probe(place, until_us))

    def _probe(self, place: Place, until_us: int) -> None:
        assert place.is_well is not None
        was_well, failure = place.probed.is_well, "" if place.is_well(self.now_us) else "500"
        place.probed = after_probe(place.probed, failure, self.now_us, CHECK)
        place.health = (well if place.probed.is_well else unwell)(place.health, failure, self.now_us)
        if place.probed.is_well != was_well:
            place.turned_us.append(self.now_us)
        self._plan_probe(place, until_us)

    def _arrive(self) -> None:
        self._budget.note_call(self.now_us)
        self._attempt([])

    def _attempt(self, before: list[Place]) -> None:
        place = choose(self.places, self.now_us, self._die, before)
        if place.health.is_due(self.now_us):
            place.health = tried(place.health)
        place.outstanding += 1
        place.began_us.append(self.now_us)
        began_us = self.now_us
        latency_us, failure = place.behave(began_us, self._die)
        self._at(began_us + latency_us, lambda: self._end(place, began_us, failure, [*before, place]))

    def _end(self, place: Place, began_us: int, failure: str, tried_at: list[Place]) -> None:
        place.outstanding -= 1
        out = sum(not each.health.is_in for each in self.places)
        may = may_eject(out, len(self.places))
        place.health = after(place.health, failure, began_us, self.now_us, may_eject=may, jitter=self._die.random())
        self.most_out = max(self.most_out, sum(not each.health.is_in for each in self.places))
        if failure and len(tried_at) < self.attempts and self._budget.take(self.now_us):
            self.retries += 1
            self._attempt(tried_at)
        else:
            self.outcomes[failure] += 1
