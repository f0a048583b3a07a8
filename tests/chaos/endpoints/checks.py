"""What attempts must come to: records against what the model servers got, and against what was known of them.

Nothing here talks to a process.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.calls import Call
from tests.chaos.compare import Key, name
from tests.chaos.endpoints.cluster import WHERE
from tests.chaos.endpoints.faults import AWAY, Trouble
from tests.chaos.endpoints.watch import Sample
from tests.chaos.models import CALM
from tests.chaos.views import Row, Series

NOT_SENT = "can't connect"
NOT_ITS_OWN = frozenset({"gateway_died", "draining", "overloaded"})
BUDGET_S, BUDGET_PART, BUDGET_AT_LEAST = 10.0, 0.2, 3


@dataclass(frozen=True)
class Told:
    """All that there is of one run. `hits`: of each call, the endpoints that got it."""

    calls: Sequence[Call]
    rows: Mapping[Key, Row]
    hits: Mapping[Key, Sequence[str]]
    troubles: Sequence[Trouble]
    samples: Sequence[Sample]
    workers: int

    @cached_property
    def recorded(self) -> list[tuple[Call, Row, Sequence[str]]]:
        """Calls with their rows, but those of a worker that died, with what they came to at servers."""
        pairs = ((call, self.rows.get(call.key)) for call in self.calls)
        return [
            (call, row, self.hits.get(call.key, ()))
            for call, row in pairs
            if row is not None and row.error_type not in NOT_ITS_OWN and row.attempts is not None
        ]

    def troubled(self, call: Call, kinds: frozenset[str] | None = None) -> list[Trouble]:
        """What was wrong with its model's endpoints, or the gateway, while it was under way."""
        return [
            trouble
            for trouble in self.troubles
            if trouble.overlaps(call.started_s, call.ended_s)
            and (trouble.site == "" or trouble.site in WHERE[call.model_id])
            and (kinds is None or trouble.kind in kinds)
        ]


@dataclass
class Found:
    """`problems` should be none; the rest is told."""

    problems: list[str] = field(default_factory=list)
    attempts: int = 0
    arrived: int = 0
    again: int = 0
    out_s: float = 0.0
    called_while_out: int = 0
    left_to_the_budget: int = 0


def check(told: Told) -> Found:
    """All of it."""
    found = Found()
    for call, row, hits in told.recorded:
        found.attempts += row.attempts or 0
        found.arrived += len(hits)
        found.again += max((row.attempts or 0) - 1, 0)
        found.problems += [f"{name(call.key)}: {what}" for what in check_attempts(told, call, row, hits)]
    found.problems += check_answered(told)
    found.problems += check_endpoints_out(told, found)
    found.problems += check_safe_retries(told, found)
    found.problems += check_budget(told)
    return found


def check_answered(told: Told) -> Iterator[str]:
    """Whatever endpoints do, each caller has an answer, unless a worker died."""
    for call in told.calls:
        if call.outcome != "answered" and not any(not trouble.site for trouble in told.troubled(call)):
            yield f"{name(call.key)}: {call.outcome} after {call.latency_s:.1f} s, though no worker died"


def check_attempts(told: Told, call: Call, row: Row, hits: Sequence[str]) -> Iterator[str]:
    """Each attempt arrived, and no more than those, unless an endpoint was away; and without trouble all is well."""
    attempts, away = row.attempts or 0, told.troubled(call, AWAY)
    if row.error_type == "timeout" and call.model_id != CALM.name:
        return  # of a machine that has much to do, too: those models have little time
    if len(hits) > attempts + len(away):  # one that dies may leave its calls to another
        yield f"{attempts} attempts, and {[*hits]} got it"
    if len(hits) < attempts and not away:
        yield f"{attempts} attempts, and only {[*hits]} got it, though all were there: {row.error_type} {row.error_log}"
    if hits and not away and row.upstream not in hits:
        yield f"{row.upstream} is recorded, and {[*hits]} got it"
    if not set(hits) <= set(WHERE[call.model_id]):
        yield f"{[*hits]} got it"
    if not told.troubled(call) and not (row.success and attempts == 1):
        yield f"nothing was wrong, and it ended with {row.error_type} ({row.error_log}) after {attempts} attempts"


def check_limits(series: Series) -> Iterator[str]:
    """At rest no call counts for any limit, whatever workers died with."""
    for name_, value in series.items():
        if name_.startswith(("invoker_limit_in_flight{", "invoker_queue_length{")) and value:
            yield f"{name_} is {value:g} at rest"


def check_endpoints_out(told: Told, found: Found) -> Iterator[str]:
    """While all workers leave an endpoint out, and have another one, none but trials is called there: one of each."""
    alone: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call, row, hits in told.recorded:
        if row.attempts == 1 == len(hits):
            alone[call.model_id, hits[0]].append(call)
    for before, after in zip(told.samples, told.samples[1:], strict=False):
        since_s, until_s = before.until_s, after.since_s
        if before.workers != told.workers or after.workers != told.workers or since_s >= until_s:
            continue
        if any(not trouble.site and trouble.overlaps(since_s - 2.0, until_s) for trouble in told.troubles):
            continue  # a worker that began then knows nothing yet
        for key, out_until_s in before.out.items():
            if not (after.still_out(key, out_until_s) and before.others_in(key) and after.others_in(key)):
                continue
            called = sum(since_s <= call.started_s and call.ended_s <= until_s for call in alone[key])
            found.out_s += until_s - since_s
            found.called_while_out += called
            if called > told.workers:
                yield f"{key[0]}: {key[1]} was out, and got {called} calls within {until_s - since_s:.1f} s"


def check_safe_retries(told: Told, found: Found) -> Iterator[str]:
    """A call that nobody can have got was tried where an endpoint was well, unless the budget was spent."""
    again_at: dict[str, list[float]] = defaultdict(list)
    for call, row, _ in told.recorded:
        again_at[call.model_id] += [call.started_s] * ((row.attempts or 1) - 1)
    for times in again_at.values():
        times.sort()
    for call, row, hits in told.recorded:
        away = {trouble.site for trouble in told.troubled(call, AWAY)}
        if hits or len(away) > 1 or not row.error_log.startswith(NOT_SENT):
            continue
        times = again_at[call.model_id]
        spent = bisect_right(times, call.ended_s) - bisect_left(times, call.started_s - BUDGET_S - 1.0)
        if spent >= BUDGET_AT_LEAST:
            found.left_to_the_budget += 1
        else:
            yield f"{name(call.key)}: {row.error_log}, {row.attempts} attempts, with {away} away: no other was tried"


def check_budget(told: Told) -> Iterator[str]:
    """Attempts beyond the first are a fifth of a model's calls, or three in ten seconds of each worker's life."""
    lives = told.workers + sum(not trouble.site for trouble in told.troubles) * told.workers
    for model_id in WHERE:
        of_model = [(call, row) for call, row, _ in told.recorded if call.model_id == model_id]
        if not of_model:
            continue
        seconds = max(call.ended_s for call, _ in of_model) - min(call.started_s for call, _ in of_model)
        again = sum((row.attempts or 1) - 1 for _, row in of_model)
        most = BUDGET_PART * len(of_model) * 1.2 + BUDGET_AT_LEAST * lives * (seconds / BUDGET_S + 1)
        if again > most:
            yield f"{model_id}: {again} attempts beyond the first of {len(of_model)} calls, {most:.0f} are allowed"
