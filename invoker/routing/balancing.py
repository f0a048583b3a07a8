"""Which endpoint a call goes to: a pure function of what is known of them, a clock and a die.

Tiers of equal priority follow each other: the next one is for when none of those before can be called. Within a tier
two are drawn by weight, and the one with fewer calls outstanding, by weight, gets it: so no worker needs to know of the
others' calls, and none sends all to the one that looked best a moment ago.
"""

from collections.abc import Collection, Sequence
from itertools import groupby
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
    for _, tier in groupby(fresh, _priority):
        members = [*tier]
        for each in members:
            if each.health.is_due(now_us):
                return each  # its trial
        if usable := [each for each in members if each.health.is_in]:
            return _draw(usable, die)
    # None is in: rather than none, any is tried.
    return _draw(fresh, die)


def _priority(candidate: Candidate) -> int:
    return candidate.priority


def _draw(among: Sequence[C], die: Random) -> C:
    if len(among) == 1:
        return among[0]
    first = _by_weight(among, die)
    second = _by_weight([each for each in among if each is not first], die)
    return second if _load(second) < _load(first) else first


def _by_weight(among: Sequence[C], die: Random) -> C:
    return die.choices(among, [each.weight for each in among])[0] if len(among) > 1 else among[0]


def _load(candidate: Candidate) -> float:
    return (candidate.outstanding + 1) / candidate.weight
