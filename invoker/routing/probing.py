"""Whether an endpoint is well, as its probes tell: a pure function of their results, one after the other.

It is unwell after some failures in a row, and well again after some successes in a row: so one that answers now and
then doesn't come and go. Until it is told otherwise it is well.
"""

from random import Random
from typing import NamedTuple

import msgspec

JITTER = 0.1
"""Of the pause between two probes, either way: so that workers don't all ask at the same time."""


class HealthCheck(msgspec.Struct, frozen=True):
    """What is asked of an endpoint, how often, how long its answer may take, and how many in a row count."""

    path: str
    interval_s: float = 5.0
    timeout_s: float = 2.0
    failures: int = 3
    successes: int = 2


class Probed(NamedTuple):
    """What the probes have come to. `opposed`: results in a row, the last of all, that say otherwise than `is_well`;
    `failure`: what the last one failed with, if it did; `at_us`: when it ended, 0 before the first."""

    is_well: bool = True
    opposed: int = 0
    failure: str = ""
    at_us: int = 0


def after_probe(before: Probed, failure: str, now_us: int, check: HealthCheck) -> Probed:
    """With one more result; `failure` is empty of a success."""
    if before.is_well == (not failure):
        return Probed(before.is_well, 0, failure, now_us)
    opposed = before.opposed + 1
    if opposed >= (check.failures if before.is_well else check.successes):
        return Probed(not before.is_well, 0, failure, now_us)
    return Probed(before.is_well, opposed, failure, now_us)


def pause_s(check: HealthCheck, die: Random) -> float:
    """From the end of a probe to the next one."""
    return check.interval_s * die.uniform(1 - JITTER, 1 + JITTER)
