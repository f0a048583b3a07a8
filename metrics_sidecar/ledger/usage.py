"""What invocations used since the beginning: tokens, cost, how long streams took to their first output and between
their tokens, and how long calls waited for room. A list of numbers that only grow, empty for a model that none of it is
known of: most are so."""

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from shared.record import COUNTED, MAX_COUNT, Record

USAGE_MISSING = "usage_missing"
"""How many successes should have told their tokens and didn't."""
FIRST_TOKEN, PER_TOKEN, QUEUE = "time_to_first_token_us", "time_per_output_token_us", "queue_us"

FIRST_TOKEN_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_BOUNDS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Those of OpenTelemetry's conventions for generative AI. Columns are named by them."""
QUEUE_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

SUMS = (*COUNTED, USAGE_MISSING)


class Spread(NamedTuple):
    """How a time is spread: its field, the upper bounds of its histogram, and where in the numbers its sum is, before
    the counts of its buckets, of which the last has no bound."""

    field: str
    bounds_s: tuple[float, ...]
    names: tuple[str, ...]
    first: int

    @property
    def bounds_us(self) -> tuple[int, ...]:
        return tuple(round(bound * 1_000_000) for bound in self.bounds_s)

    def sum_us(self, usage: Sequence[int]) -> int:
        return usage[self.first] if usage else 0

    def buckets(self, usage: Sequence[int]) -> Sequence[int]:
        """Not cumulated."""
        return usage[self.first + 1 : self.first + len(self.names)]


def _spread(field: str, prefix: str, bounds_s: tuple[float, ...], first: int) -> Spread:
    names = (field, *(f"{prefix}_{round(bound * 1000)}ms" for bound in bounds_s), f"{prefix}_more")
    return Spread(field, bounds_s, names, first)


FIRST_TOKENS = _spread(FIRST_TOKEN, "first_token", FIRST_TOKEN_BOUNDS_S, len(SUMS))
PER_TOKENS = _spread(PER_TOKEN, "per_token", PER_TOKEN_BOUNDS_S, len(SUMS) + len(FIRST_TOKENS.names))
QUEUES = _spread(QUEUE, "queue", QUEUE_BOUNDS_S, PER_TOKENS.first + len(PER_TOKENS.names))
SPREADS = (FIRST_TOKENS, PER_TOKENS, QUEUES)

USAGE_NAMES = (*SUMS, *FIRST_TOKENS.names, *PER_TOKENS.names, *QUEUES.names)
"""Of the numbers."""
USAGE_PLACES = {name: place for place, name in enumerate(USAGE_NAMES)}

NO_USAGE: list[int] = []
_FIRST, _FIRST_BOUNDS_US = FIRST_TOKENS.first, FIRST_TOKENS.bounds_us
_PER, _PER_BOUNDS_US = PER_TOKENS.first, PER_TOKENS.bounds_us
_QUEUE, _QUEUE_BOUNDS_US = QUEUES.first, QUEUES.bounds_us
_counted = attrgetter(*COUNTED)


def count_usage(usage: list[int], record: Record) -> list[int]:
    """With this one: the same list, or one that begins with it. Its sums may be above what is stored."""
    usage = usage or [0] * len(USAGE_NAMES)
    for index, number in enumerate(_counted(record)):
        if number:
            usage[index] += number
    if record.usage_missing:
        usage[len(COUNTED)] += 1
    first_us, per_us = record.time_to_first_token_us, record.time_per_output_token_us
    if first_us is not None:
        usage[_FIRST] += first_us
        usage[_FIRST + 1 + bisect_left(_FIRST_BOUNDS_US, first_us)] += 1
    if per_us is not None:
        usage[_PER] += per_us
        usage[_PER + 1 + bisect_left(_PER_BOUNDS_US, per_us)] += 1
    if (queue_us := record.queue_us) is not None:
        usage[_QUEUE] += queue_us
        usage[_QUEUE + 1 + bisect_left(_QUEUE_BOUNDS_US, queue_us)] += 1
    return usage


def bounded(usage: Sequence[int]) -> list[int]:
    """As it is stored."""
    if not usage or max(usage) <= MAX_COUNT:
        return [*usage]
    return [min(number, MAX_COUNT) for number in usage]


def add_usage(mine: list[int], more: list[int]) -> list[int]:
    """Both together; neither is changed."""
    if not mine or not more:
        return mine or more
    return [min(one + other, MAX_COUNT) for one, other in zip(mine, more, strict=True)]


def subtract_usage(mine: list[int], some: list[int]) -> list[int]:
    """What is left without some that are part of it."""
    if not some:
        return mine
    left = [one - other for one, other in zip(mine, some, strict=True)]
    return left if any(left) else NO_USAGE
