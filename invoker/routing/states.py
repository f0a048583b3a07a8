"""What all workers together know of the endpoints, for people to look at."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from invoker.routing.endpoints import Member
from invoker.routing.limits import Limit
from invoker.routing.models import Models
from shared.clock import Clock, format_timestamp


class ProbeState(msgspec.Struct, frozen=True):
    """The last probe of an endpoint."""

    path: str
    at: Annotated[str, Meta(description="When it ended.")]
    failure: Annotated[str, Meta(description="Empty if it succeeded.")]


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of one table of the models file, as one worker, or all of them, know it."""

    model: Annotated[str | None, Meta(description="The table's id or pattern; null where a setting says where to.")]
    protocol: str
    name: str
    url: Annotated[str, Meta(description="Without user, password and query.")]
    address: Annotated[str, Meta(description="Where its host is several endpoints; or else empty.")] = ""
    weight: int
    priority: int
    state: Annotated[
        Literal["in", "out", "partly_out"], Meta(description="`partly_out`: some workers leave it out, and some don't.")
    ]
    reason: Annotated[str, Meta(description="Why it is out; empty while it is in.")] = ""
    until: Annotated[str | None, Meta(description="When its next trial is due; null also while its probes decide.")] = (
        None
    )
    cooling_models: Annotated[int, Meta(description="Ids that leave it alone for a moment, as it had no room.")] = 0
    outstanding: Annotated[int, Meta(description="Calls that it has now.")] = 0
    attempts: Annotated[dict[str, int], Meta(description="How many have ended, and how, since the workers began.")] = {}
    probe: Annotated[ProbeState | None, Meta(description="The last one; null before the first, or without any.")] = None


class LimitState(msgspec.Struct, frozen=True):
    """Of one limit, which all workers count together."""

    limit: Annotated[str, Meta(description="The table's id or pattern; of one of its upstreams, that one's name, too.")]
    max_in_flight: Annotated[
        int | None, Meta(description="As it is now; null where only the table's upstreams have such.")
    ]
    in_flight: Annotated[int, Meta(description="Calls that it has now.")]
    queue: Annotated[int, Meta(description="How many may wait for room.")]
    waiting: Annotated[int, Meta(description="How many do.")]


class UpstreamsAnswer(msgspec.Struct, frozen=True):
    """All endpoints, by table and priority, and all limits. `workers`: how many of them have told what they know."""

    workers: int
    upstreams: list[EndpointState]
    limits: list[LimitState] = []


def states_of(models: Models, clock: Clock) -> list[EndpointState]:
    """As this worker knows them."""
    now_us = clock.monotonic_us()
    offset_us = clock.now_us() - now_us
    return [
        _state(member, protocol, name, now_us, offset_us)
        for protocol, name, model in models.tables()
        for member in model.group.members
    ]


def limits_of(models: Models) -> list[LimitState]:
    """As they are at this moment."""
    return [
        LimitState(limit.name, _most(limit), limit.in_flight, limit.queue, limit.waiting)
        for _, limit in models.limits()
    ]


def _most(limit: Limit) -> int | None:
    return None if limit.max_in_flight is None else limit.most


def _state(member: Member, protocol: str, name: str | None, now_us: int, offset_us: int) -> EndpointState:
    endpoint, health = member.endpoint, member.health
    parts = urlsplit(endpoint.url)
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return EndpointState(
        model=name,
        protocol=protocol,
        name=endpoint.name,
        url=url,
        address=endpoint.address,
        weight=endpoint.weight,
        priority=endpoint.priority,
        state="in" if health.is_in else "out",
        reason=health.reason,
        until=None if health.is_in or health.is_unwell else format_timestamp(health.ejected_until_us + offset_us),
        cooling_models=sum(until_us > now_us for until_us in member.cooling.values()),
        outstanding=member.outstanding,
        attempts=dict(member.tally.attempts),
        probe=_probe(member, offset_us),
    )


def _probe(member: Member, offset_us: int) -> ProbeState | None:
    check, probed = member.endpoint.health, member.probed
    if check is None or probed is None or not probed.at_us:
        return None
    return ProbeState(check.path, format_timestamp(probed.at_us + offset_us), probed.failure)


def merged(of_workers: Iterable[list[EndpointState]], limits: Sequence[LimitState] = ()) -> UpstreamsAnswer:
    """Of all workers that have told theirs; a worker may not have the newest models file yet."""
    together: dict[tuple[str, str | None, str, str, str], list[EndpointState]] = {}
    workers = 0
    for states in of_workers:
        workers += 1
        for one in states:
            together.setdefault((one.protocol, one.model, one.name, one.url, one.address), []).append(one)
    return UpstreamsAnswer(workers, [_together(states) for states in together.values()], [*limits])


def _together(states: list[EndpointState]) -> EndpointState:
    out = [one for one in states if one.state == "out"]
    attempts: dict[str, int] = {}
    for one in states:
        for outcome, count in one.attempts.items():
            attempts[outcome] = attempts.get(outcome, 0) + count
    last = max(out, key=lambda one: one.until or "", default=None)
    return msgspec.structs.replace(
        states[-1],
        state="in" if not out else "out" if len(out) == len(states) else "partly_out",
        reason="" if last is None else last.reason,
        until=None if last is None else last.until,
        cooling_models=max(one.cooling_models for one in states),
        outstanding=sum(one.outstanding for one in states),
        attempts=dict(sorted(attempts.items())),
        probe=max((one.probe for one in states if one.probe), key=lambda probe: probe.at, default=None),
    )
