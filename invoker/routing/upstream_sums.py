"""What a worker tells of upstreams, by name: whatever tables have them, and also of those that none has any more."""

import weakref
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from invoker.routing.endpoints import Member
from invoker.routing.models import Models
from invoker.routing.tally import Tally
from shared.wire import Labelled, LabelledGauges

MAX_NAMES = 1000
"""In a worker's life; the others together are one."""
OTHERS = "__overflow__"

ATTEMPTS, EJECTIONS = "invoker_upstream_attempts_total", "invoker_upstream_ejections_total"
LATENCY = "invoker_upstream_latency_seconds"
HEALTHY, OUTSTANDING = "invoker_upstream_healthy", "invoker_upstream_outstanding"


class _Known(NamedTuple):
    """An endpoint, in a table or in none now. As long as it is there, a call that began before may still go to it."""

    member: "weakref.ref[Member]"
    name: str
    tally: Tally


class Names:
    """The first so many that a worker has known; all others are one."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def shown(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= MAX_NAMES:
                return OTHERS
            self._names.add(name)
        return name


class UpstreamSums:
    """Counts never go down: what was counted of an endpoint stays, when the models file has it no longer."""

    def __init__(self) -> None:
        self._names = Names()
        self._known: dict[int, _Known] = {}  # by identity
        self._gone: dict[str, dict[str, Counter[str]]] = {ATTEMPTS: {}, EJECTIONS: {}, LATENCY: {}}

    def follow(self, models: Models) -> None:
        """Whenever endpoints have come or gone: what goes later on isn't forgotten then."""
        self._settle()
        for member in _members(models):
            if id(member) not in self._known:
                self._known[id(member)] = _Known(weakref.ref(member), member.endpoint.name, member.tally)

    def counted(self, models: Models) -> Labelled:
        """As a report has it."""
        self.follow(models)
        sums = {name: {label: Counter(counts) for label, counts in of.items()} for name, of in self._gone.items()}
        for known in self._known.values():
            _add(sums, self._names.shown(known.name), known.tally)
        return {name: {label: dict(counts) for label, counts in of.items()} for name, of in sums.items()}

    def measured(self, models: Models) -> LabelledGauges:
        """Of what the tables have now. An upstream of several is as healthy as they are together."""
        found: dict[str, list[Member]] = {}
        for member in _members(models):
            found.setdefault(self._names.shown(member.endpoint.name), []).append(member)
        return {
            HEALTHY: {name: sum(one.health.is_in for one in members) / len(members) for name, members in found.items()},
            OUTSTANDING: {name: float(sum(one.outstanding for one in members)) for name, members in found.items()},
        }

    def _settle(self) -> None:
        """What is counted of an endpoint that nobody can call any more is complete."""
        for number, known in [*self._known.items()]:
            if known.member() is None:
                _add(self._gone, self._names.shown(known.name), known.tally)
                del self._known[number]


def _members(models: Models) -> Iterator[Member]:
    for _, _, model in models.tables():
        yield from model.group.members


def _add(sums: dict[str, dict[str, Counter[str]]], label: str, tally: Tally) -> None:
    if tally.attempts:
        sums[ATTEMPTS].setdefault(label, Counter()).update(tally.attempts)
        sums[LATENCY].setdefault(label, Counter()).update(tally.heads.report())
    if tally.ejections:
        sums[EJECTIONS].setdefault(label, Counter())[""] += tally.ejections
