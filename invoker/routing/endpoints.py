"""Where a model's calls can go, and what a worker knows of each place."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import unquote, urlsplit

import msgspec

from invoker.routing.alias import Alias
from invoker.routing.balancing import choose
from invoker.routing.credentials import Credentials
from invoker.routing.ejection import NEW, Health, after, after_success, let_in, may_eject, tried, untold
from invoker.routing.limits import Limit
from invoker.routing.probing import HealthCheck, Probed
from invoker.routing.retry_budget import RetryBudget
from invoker.routing.tally import Tally
from shared.record import MAX_UPSTREAM_NAME_CHARS

MAX_GONE = 256
"""Addresses that a group's names haven't any more, and that may come back."""
MAX_COOLING = 1000
"""Models that one endpoint has no room for, at once."""
SHORTEST_COOL_US, LONGEST_COOL_US = 1_000_000, 60_000_000
"""An endpoint that is too busy for a model is left alone by it for so long: as it says, or else the least."""

DIE = Random()
"""A process's own: workers that began with the same state would all choose, and come back, alike."""
os.register_at_fork(after_in_child=DIE.seed)

_INVISIBLE = re.compile("[^!-~]")


class Endpoint(msgspec.Struct, frozen=True):
    """As the models file says it. Of several, each gets calls by its `weight`; those of a higher `priority` number only
    while none of a lower one can be called; and none beyond its `limit`. `alias`: by which name it knows the model, if
    by another; `address`: of a name that has several, one of them."""

    url: str
    name: str
    weight: int = 1
    priority: int = 0
    credentials: Credentials | None = None
    limit: Limit | None = None
    alias: Alias | None = None
    health: HealthCheck | None = None
    address: str = ""


def upstream_name(url: str) -> str:
    """Its host and port as they stand there, or its socket's path, in visible ASCII."""
    name = unquote(urlsplit(url).netloc.rpartition("@")[2]) or url
    return _INVISIBLE.sub("?", name)[:MAX_UPSTREAM_NAME_CHARS]


@dataclass(slots=True, weakref_slot=True)
class Member:
    """An endpoint of a model. `cooling`: until when which model ids leave it alone; `probed`: what its probes have come
    to, if it has any."""

    endpoint: Endpoint
    outstanding: int = field(default=0, compare=False)
    health: Health = field(default=NEW, compare=False)
    cooling: dict[str, int] = field(default_factory=dict, compare=False)
    tally: Tally = field(default_factory=Tally, compare=False)
    probed: Probed | None = field(default=None, compare=False)

    weight: int = field(init=False, compare=False)
    priority: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self.become(self.endpoint)

    def become(self, endpoint: Endpoint) -> None:
        """The same one, as the models file says it now."""
        self.endpoint = endpoint
        self.weight, self.priority = endpoint.weight, endpoint.priority  # looked at by each call


class NoRoomError(Exception):
    """Each endpoint has as many calls as it may."""


class Group:
    """The endpoints of one model: at least one. `only`: where there is no more than one, and nothing to choose; its
    calls are only counted. `limited`: whether any has a limit of its own; `has_addresses`: whether a name is several of
    the `members`."""

    def __init__(self, endpoints: Sequence[Endpoint], die: Random | None = None) -> None:
        self.endpoints = sorted(endpoints, key=lambda each: each.priority)
        self.members = [Member(endpoint) for endpoint in self.endpoints]
        self.limited = any(endpoint.limit is not None for endpoint in endpoints)
        self.budget = RetryBudget()
        self.die = die or DIE
        self.only: Member | None
        self.has_addresses: bool
        self._gone: dict[tuple[str, str, str], Member] = {}  # the first to go first
        self._settle()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self.members == other.members

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type["Group"], tuple[list[Endpoint]]]:
        """For another process: what is known here stays here."""
        return Group, (self.endpoints,)

    def take(self, model_id: str, now_us: int, before: Sequence[Member] = ()) -> Member:
        """The one that an attempt goes to, and what it has room for by its limit; `NoRoomError` if none has. `before`:
        where the same call was tried. `give_back` must follow, and that its limit is left."""
        members: Sequence[Member] = self.members
        member = choose(members, now_us, self.die, _avoided(members, model_id, now_us, before))
        while (limit := member.endpoint.limit) is not None and not limit.take():
            members = _others(members, member, now_us)
            member = choose(members, now_us, self.die, _avoided(members, model_id, now_us, before))
        if member.health.is_due(now_us):
            member.health = tried(member.health)
        member.outstanding += 1
        return member

    def has_room(self, beside: Member | None) -> bool:
        """Whether any endpoint has for a call that is at this one, if there are others."""
        others = [each for each in self.members if each is not beside] if self.limited else []
        return not others or any(map(_has_room, others))

    def give_back(self, member: Member, outcome: str, failure: str | None, began_us: int, now_us: int) -> None:
        """An attempt has ended, and counts as `outcome`. `failure`: why it is the endpoint's, empty for none; None
        where that isn't known."""
        member.outstanding -= 1
        member.tally.attempts[outcome] += 1
        if self.only is not None:
            return
        if failure is None:
            member.health = untold(member.health, began_us)
            return
        if not failure and member.health.is_in:
            member.health = after_success(member.health, now_us)
            return
        out = sum(not each.health.is_in for each in self.members)
        may = may_eject(out, len(self.members))
        before = member.health
        member.health = after(before, failure, began_us, now_us, may_eject=may, jitter=self.die.random())
        member.tally.ejections += member.health.ejected_until_us > before.ejected_until_us

    def give_up(self, member: Member, began_us: int) -> None:
        """The attempt is not made."""
        member.outstanding -= 1
        member.health = untold(member.health, began_us)

    def cool(self, member: Member, model_id: str, seconds: float | None, now_us: int) -> None:
        """This endpoint has no room for this model; and has said for how long, or not."""
        if self.only is not None:
            return
        length_us = round(min((seconds or 0) * 1_000_000, LONGEST_COOL_US))
        if len(member.cooling) >= MAX_COOLING:
            member.cooling.clear()
        member.cooling[model_id] = now_us + max(length_us, SHORTEST_COOL_US)

    def carry_over(self, before: "Group") -> None:
        """What is known of the same endpoints, whose calls may still be on their way; and what was tried again."""
        self.budget = before.budget
        wanted = self.endpoints
        if before.has_addresses:
            addresses: dict[tuple[str, str], list[str]] = {}
            for member in before.members:
                addresses.setdefault(_key(member.endpoint)[:2], []).append(member.endpoint.address)
            wanted = self._at(lambda endpoint: addresses.get(_key(endpoint)[:2], ()))
        self._place(wanted, before)

    def spread(self, addresses: Callable[[Endpoint], Sequence[str]]) -> bool:
        """Each of an endpoint's `addresses` is one of its own, or else it is one. Whether that changes anything. What
        is known of one that goes is known when it comes back, as long as it has calls or is out."""
        wanted = self._at(addresses)
        if [_key(endpoint) for endpoint in wanted] == [_key(member.endpoint) for member in self.members]:
            return False
        self._place(wanted, self)
        return True

    def _at(self, addresses: Callable[[Endpoint], Sequence[str]]) -> list[Endpoint]:
        return [
            msgspec.structs.replace(endpoint, address=address) if address else endpoint
            for endpoint in self.endpoints
            for address in addresses(endpoint) or ("",)
        ]

    def _place(self, wanted: Sequence[Endpoint], before: "Group") -> None:
        """These, with what was known of them."""
        known = {**before._gone, **{_key(member.endpoint): member for member in before.members}}
        self.members = []
        for endpoint in wanted:
            member = known.pop(_key(endpoint), None) or Member(endpoint)
            member.become(endpoint)
            self.members.append(member)
        left = [(key, member) for key, member in known.items() if member.outstanding or not member.health.is_in]
        self._gone = dict(left[-MAX_GONE:])
        self._settle()

    def is_spread(self, member: Member, tried: Sequence[Member]) -> bool:
        """Whether its name has another address, which isn't among those that were tried."""
        if not member.endpoint.address:
            return False
        name = _key(member.endpoint)[:2]
        return any(_key(each.endpoint)[:2] == name and each not in tried for each in self.members)

    def _settle(self) -> None:
        """How many there are is known."""
        self.has_addresses = len(self.members) > len(self.endpoints)
        self._let_in()
        self.only = self.members[0] if len(self.members) == 1 and not self.limited else None

    def _let_in(self) -> None:
        """Those that calls have put out, beyond what may be out of so many: an only one never is."""
        if all(each.health.is_in for each in self.members):
            return
        if len(self.members) == 1:
            self.members[0].health = NEW
            return
        by_calls = [each for each in self.members if each.health.is_out_by_calls]
        by_calls.sort(key=lambda each: (not each.health.is_unwell, -each.health.ejected_until_us))
        by_probes = sum(each.health.is_unwell and not each.health.is_out_by_calls for each in self.members)
        for member in by_calls[max(len(self.members) // 2 - by_probes, 0) :]:
            member.health = let_in(member.health)


def _key(endpoint: Endpoint) -> tuple[str, str, str]:
    return endpoint.name, endpoint.url, endpoint.address


def _others(members: Sequence[Member], full: Member, now_us: int) -> Sequence[Member]:
    """Beside one that has no room; `NoRoomError` if there is none. None that is out takes the place of one that is
    in."""
    may_be_out = not _may_be_called(full, now_us)
    others = [each for each in members if each is not full and (may_be_out or _may_be_called(each, now_us))]
    if not others:
        raise NoRoomError
    return others


def _may_be_called(member: Member, now_us: int) -> bool:
    return member.health.is_in or member.health.is_due(now_us)


def _has_room(member: Member) -> bool:
    return member.endpoint.limit is None or member.endpoint.limit.has_room


def _avoided(members: Sequence[Member], model_id: str, now_us: int, before: Sequence[Member]) -> Sequence[Member]:
    """Where the same call was tried, and those that have no room for this model, unless all others are out: one that
    answers that it is busy does answer."""
    for each in members:
        if each.cooling:
            break
    else:
        return before
    avoid = [each for each in members if each in before or each.cooling.get(model_id, 0) > now_us]
    fresh = [each for each in members if each not in avoid] if avoid else members
    return avoid if any(_may_be_called(each, now_us) for each in fresh) else before


def single(url: str, credentials: Credentials | None = None) -> Group:
    """Of one endpoint, which its URL names."""
    return Group([Endpoint(url, upstream_name(url), credentials=credentials)])
