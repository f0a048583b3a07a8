"""When an endpoint gets no more calls for a while: a pure function of what it answered, and a clock.

It is out after some failures in a row, or when a good part of its calls fail; each time longer. When the time is over,
one call is its trial: it is in again, or out for longer. Never are so many out that those left couldn't carry the load.
"""

from typing import NamedTuple

FAILURES_IN_A_ROW = 5
WINDOW_US = 10_000_000
MIN_CALLS, MAX_FAILED_PART = 20, 0.5
"""In one such window: of fewer calls a part says nothing."""
FIRST_US, LONGEST_US = 5_000_000, 300_000_000
"""Each time is twice as long as the one before."""
JITTER = 0.2
"""So much longer at most, so that workers don't try it all at once."""
CALM_US = 300_000_000
"""After so long without, the next time is a first one again."""
UNTIL_WELL_US = 1 << 62
"""Until when one is out whose probes fail: no call is its trial, its probes are."""


class Health(NamedTuple):
    """What one worker knows of an endpoint. Times are µs of a monotonic clock; `ejected_until_us`: 0 while it is in;
    `beside`: of one whose probes fail, what its calls have come to."""

    failures_in_a_row: int = 0
    window_us: int = 0
    calls: int = 0
    failures: int = 0
    ejected_us: int = 0
    ejected_until_us: int = 0
    ejections: int = 0
    is_tried: bool = False
    reason: str = ""
    beside: "Health | None" = None

    @property
    def is_in(self) -> bool:
        return not self.ejected_until_us

    @property
    def is_unwell(self) -> bool:
        return self.ejected_until_us == UNTIL_WELL_US

    @property
    def is_out_by_calls(self) -> bool:
        """Or would be, if its probes didn't fail."""
        return not self.is_in and (self.beside is None or not self.beside.is_in)

    def is_due(self, now_us: int) -> bool:
        """Whether its trial may be made now."""
        return 0 < self.ejected_until_us <= now_us and not self.is_tried


NEW = Health()


def may_eject(out: int, total: int) -> bool:
    """One more beside those that are out: never more than half of them, and of two one."""
    return out + 1 <= total // 2


def unwell(health: Health, failure: str, now_us: int) -> Health:
    """Its probes fail; `failure`: the last one, or empty if that didn't. It isn't one of its ejections, which are for
    what becomes of calls, and it ends none."""
    if health.is_unwell and not failure:
        return health
    reason = f"its probes fail, the last: {failure}"
    if health.is_unwell:
        return health._replace(reason=reason)
    return Health(
        ejected_us=now_us,
        ejected_until_us=UNTIL_WELL_US,
        ejections=health.ejections,
        reason=reason,
        beside=health,
    )


def well(health: Health, _failure: str, now_us: int) -> Health:
    """They don't. It is in again, or out as long as its calls had put it."""
    if not health.is_unwell:
        return health
    if health.beside is not None and not health.beside.is_in:
        return health.beside._replace(is_tried=False)
    return _back(health, now_us)


def let_in(health: Health) -> Health:
    """What its calls did is forgotten: of those that are left too many are out."""
    return health._replace(beside=NEW) if health.is_unwell else NEW


def tried(health: Health) -> Health:
    """Its trial is under way."""
    return health._replace(is_tried=True)


def untold(health: Health, began_us: int) -> Health:
    """A call ended without saying anything of it: its caller has left."""
    return health._replace(is_tried=False) if health.is_tried and began_us >= health.ejected_us else health


def after_success(health: Health, now_us: int) -> Health:
    """Of one that is in, as nearly all calls are."""
    _, window_us, calls, failures, ejected_us, _, ejections, *_ = health
    if now_us - window_us >= WINDOW_US:
        window_us, calls, failures = now_us, 0, 0
    return Health(0, window_us, calls + 1, failures, ejected_us, 0, ejections)


def after(
    health: Health, failure: str, began_us: int, now_us: int, *, may_eject: bool = True, jitter: float = 0.0
) -> Health:
    """After a call that began then and ended now; `failure`: why it failed, if it did. `jitter`: 0 to 1, at random."""
    if not health.is_in:
        return _after_while_out(health, failure, began_us, now_us, jitter)
    if not failure:
        return after_success(health, now_us)
    if now_us - health.window_us >= WINDOW_US:
        health = health._replace(window_us=now_us, calls=0, failures=0)
    in_a_row, calls, failures = health.failures_in_a_row + 1, health.calls + 1, health.failures + 1
    health = health._replace(failures_in_a_row=in_a_row, calls=calls, failures=failures)
    if not may_eject:
        return health
    if in_a_row >= FAILURES_IN_A_ROW:
        return _ejected(health, f"{in_a_row} failures in a row, the last: {failure}", now_us, jitter)
    if calls >= MIN_CALLS and failures >= MAX_FAILED_PART * calls:
        return _ejected(health, f"{failures} of {calls} calls failed, the last: {failure}", now_us, jitter)
    return health


def _after_while_out(health: Health, failure: str, began_us: int, now_us: int, jitter: float) -> Health:
    """What began before it was out says nothing new."""
    if began_us < health.ejected_us or health.is_unwell:
        return health
    if not failure:
        return _back(health, now_us)
    if now_us < health.ejected_until_us:
        return health
    return _ejected(health, f"its trial failed: {failure}", now_us, jitter)


def _back(health: Health, now_us: int) -> Health:
    return NEW._replace(window_us=now_us, ejected_us=now_us, ejections=health.ejections)


def _ejected(health: Health, reason: str, now_us: int, jitter: float) -> Health:
    calm = health.is_in and now_us - health.ejected_us >= CALM_US
    ejections = 1 if calm else health.ejections + 1
    length_us = min(FIRST_US * 2 ** min(ejections - 1, 16), LONGEST_US)
    until_us = now_us + round(length_us * (1 + JITTER * jitter))
    return Health(ejected_us=now_us, ejected_until_us=until_us, ejections=ejections, reason=reason)
