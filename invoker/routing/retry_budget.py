"""How much may be tried again: a part of what is called, so that a failing upstream isn't called ever more."""

SLOT_US, SLOTS = 1_000_000, 10
PART = 0.2
AT_LEAST = 3
"""So many in such a time, however few calls there are: a single call may be tried again, too."""


class RetryBudget:
    """Of one worker and model: further attempts are at most a fifth of the calls of the last 10 s, see `AT_LEAST`."""

    def __init__(self) -> None:
        self._slots: dict[int, list[int]] = {}  # second → calls, further attempts

    def note_call(self, now_us: int) -> None:
        self._slot(now_us)[0] += 1

    def take(self, now_us: int) -> bool:
        """Whether one more attempt may be made now: it counts as made then."""
        slot = self._slot(now_us)
        if self.spent >= max(self.calls * PART, AT_LEAST):
            return False
        slot[1] += 1
        return True

    @property
    def calls(self) -> int:
        return sum(calls for calls, _ in self._slots.values())

    @property
    def spent(self) -> int:
        return sum(attempts for _, attempts in self._slots.values())

    def _slot(self, now_us: int) -> list[int]:
        number = now_us // SLOT_US
        slot = self._slots.get(number)
        if slot is None:
            for old in [old for old in self._slots if old <= number - SLOTS]:
                del self._slots[old]
            slot = self._slots[number] = [0, 0]
        return slot
