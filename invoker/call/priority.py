"""Which calls go first where there is not room for all, as their callers say it: `x-priority: low`, `normal` or `high`.

While little is going on, it makes no difference. Calls of low priority leave the last fifth of a limit to others, and
the latter half of its queue: so they are refused first. Of those that wait, a higher priority is let in first; and one
that finds the queue full takes the place of the last of a lower one.
"""

import enum

IN_FLIGHT_PART, WAITING_PART = 0.8, 0.5
"""Up to where calls of low priority may fill a limit, and its queue."""


class Priority(enum.IntEnum):
    """A higher number goes first."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


def priority_of(said: bytes) -> Priority | None:
    """As a header says it; None if it doesn't."""
    return _SAID.get(said.lower())


def most_in_flight(priority: int, most: int) -> int:
    """How many calls there may be, of all priorities, with one more of this one. One is never too many."""
    return most if priority >= Priority.NORMAL else max(int(most * IN_FLIGHT_PART), 1)


def most_waiting(priority: int, most: int) -> int:
    """The same of those that wait."""
    return most if priority >= Priority.NORMAL else int(most * WAITING_PART)


_SAID = {each.name.lower().encode(): each for each in Priority}
