"""Which endpoint a call goes to: a pure function of what is known of them, a clock and a die.

Tiers of equal priority follow each other: the next one is for when none of those before can be called. Within a tier
two are drawn by weight, and the one with fewer calls outstanding, by weight, gets it: so no worker needs to know of the
others' calls, and none sends all to the one that looked best a moment ago.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import Protocol, TypeVar

from invoker.routing.ejection import Health


class Candidate(Protocol):
    """What counts of an endpoint."""

    @property
    def weight(self) -> int: ...

    @property
    def priority(self) -> int: ...

    @property
    def outstanding(self) -> int: ...

    @property
    def health(self) -> Health: ...


C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], now_us: int, die: Random, avoid: Collection[C] = ()) -> C:
    """Of one at least, in order of priority. `avoid`: those that the same call was tried at; they come last."""
    fresh = ([each for each in candidates if each not in avoid] if avoid else candidates) or candidates
    usable: list[C] = []
    priority = fresh[0].priority
    for each in fresh:
        if each.priority != priority:
            if usable:
                break
            priority = each.priority
        if not each.health.ejected_until_us:
            usable.append(each)
        elif each.health.is_due(now_us):
            return each  # its trial
    # If none is in: rather than none, any is tried.
    return _draw(usable or fresh, die)


def _draw(among: Sequence[C], die: Random) -> C:
    if len(among) == 1:
        return among[0]
    weights = 0
    for each in among:
        weights += each.weight
    first = _by_weight(among, die.random() * weights)
    second = _by_weight(among, die.random() * (weights - first.weight), first)
    return second if _load(second) < _load(first) else first


def _by_weight(among: Sequence[C], at: float, beside: C | None = None) -> C:
    """The one at that place, if each takes as much as its weight."""
    found = among[0]
    for each in among:
        if each is not beside:
            found = each
            at -= each.weight
            if at < 0:
                break
    return found


def _load(candidate: Candidate) -> float:
    return (candidate.outstanding + 1) / candidate.weight
