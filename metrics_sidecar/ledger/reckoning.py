"""Which time it is for what can't be undone. The machine's clock may be wrong, from the start or for a while, and so
may those of the gateways.

Running time is what passes while the sidecar runs, by the monotonic clock; it is carried on through restarts, and no
setting of a clock changes it. What is believed of the clock is its offset to running time. If the clock is ahead of
that, the sidecar was off, or the clock is wrong; this is told by how long it lasts:

- The offset that is believed follows the clock by as much as the clock was ahead, or behind, throughout a whole day of
  running, at any moment of it; and not ahead, if records came on that day and all of them were of a day before.
- What is old is removed by this time, or by the clock, if that is behind it or was so in the last day or two.
"""

import msgspec

from metrics_sidecar.history.windows import DAY_US
from shared import logs
from shared.clock import Clock
from shared.record import MAX_TIMESTAMP_US

TOLERANCE_US = 60_000_000
"""A clock that is set by less than this is not told of, and followed."""
MAX_STEP_US = 3600 * 1_000_000
"""More running time doesn't pass between two looks, a second apart: the process, or the machine, stands still."""
AHEAD, BACK = "ahead", "back"

log = logs.get("clock")


class TimeState(msgspec.Struct, array_like=True):
    """What is kept of it with each commit, in µs. `offset_us`: clock less running time, as it is believed; None before
    the first record. The period is the day of running that began at `began_us`: how far the clock's offset went in it
    and in the one before, and whether records came, and any of them of that time."""

    running_us: int = 0
    offset_us: int | None = None
    began_us: int = 0
    lowest_us: int | None = None
    highest_us: int | None = None
    lowest_before_us: int | None = None
    has_records: bool = False
    has_recent: bool = False


class Reckoning:
    """Looked at once a second at the least, by one thread; `jump_counts`, `lead_us` and `concern` are for any.
    `jump_counts` counts when the clock went `ahead` or `back` by more than a minute while nobody else's did."""

    def __init__(self, state: TimeState, clock: Clock, arrived_us: int | None = None) -> None:
        """`arrived_us`: the time of the rows that came last, to begin with where nothing else is known."""
        self._state = state
        self._clock = clock
        self._looked_us = clock.monotonic_us()
        self._now_us = clock.now_us()
        self.jump_counts = {AHEAD: 0, BACK: 0}
        self.jump_us = 0
        offset_us = self._offset_us
        if state.offset_us is None and arrived_us is not None:
            state.offset_us = min(offset_us, arrived_us - state.running_us)
        believed_us = offset_us if state.offset_us is None else state.offset_us
        # What the clock should say, less running time: that it is ahead at the start is no wonder.
        self._expected_us = max(believed_us, offset_us)
        self._last_us = believed_us
        self._note_offset(offset_us)
        self._compare(offset_us)
        if self.lead_us > DAY_US:
            self._count_jump(AHEAD, self.lead_us)

    def look(self) -> None:
        """Take over what both clocks say now."""
        monotonic_us = self._clock.monotonic_us()
        self._now_us = self._clock.now_us()
        self._state.running_us += min(max(monotonic_us - self._looked_us, 0), MAX_STEP_US)
        self._looked_us = monotonic_us
        offset_us = self._offset_us
        self._note_offset(offset_us)
        if self._state.running_us - self._state.began_us >= DAY_US:
            self._end_period()
        self._compare(offset_us)

    def recorded(self, newest_us: int) -> None:
        """Records have come, the newest of which is of this time."""
        state = self._state
        if state.offset_us is None:
            state.offset_us = min(self._offset_us, newest_us - state.running_us)
        state.has_records = True
        state.has_recent |= newest_us >= self._now_us - DAY_US

    def copy(self) -> TimeState:
        """To be kept."""
        return msgspec.structs.replace(self._state)

    @property
    def running_us(self) -> int:
        return self._state.running_us

    @property
    def reckoned_us(self) -> int:
        """The time that is believed, whatever the clock says; 0 before the first record."""
        return 0 if self._state.offset_us is None else self._state.running_us + self._state.offset_us

    @property
    def aged_us(self) -> int:
        """What is too old at this time may be removed; never later than the clock is now."""
        state = self._state
        if state.offset_us is None:
            return 0
        offsets = (state.offset_us, state.lowest_us, state.lowest_before_us)
        return state.running_us + min(offset for offset in offsets if offset is not None)

    @property
    def arrival_us(self) -> int:
        """The likeliest time of what comes now."""
        return min(max(self._state.running_us + self._expected_us, 0), MAX_TIMESTAMP_US)

    @property
    def latest_us(self) -> int:
        """The latest time that a record may have: a day ahead of the clock, and of the time that is believed."""
        return max(self._now_us, self.reckoned_us) + DAY_US

    @property
    def lead_us(self) -> int:
        """How far the clock is ahead of the time that is believed, or behind it if less than 0."""
        return 0 if self._state.offset_us is None else self._offset_us - self._state.offset_us

    @property
    def concern(self) -> str | None:
        """What is wrong with the clock, if anything is."""
        if self.jump_us:
            return f"the clock jumped, and is {_tell(self.jump_us)} of what it should be; it is believed after a day"
        lead_us = self.lead_us
        if lead_us > DAY_US:
            return (
                f"the clock is {_tell(lead_us)} of the time that is known here: the sidecar was off, or it is wrong; "
                "it is believed after a day"
            )
        if lead_us < -TOLERANCE_US:
            return f"the clock is {_tell(lead_us)} of the time that is known here; it is believed after a day"
        return None

    @property
    def _offset_us(self) -> int:
        return self._now_us - self._state.running_us

    def _note_offset(self, offset_us: int) -> None:
        state = self._state
        state.lowest_us = offset_us if state.lowest_us is None else min(state.lowest_us, offset_us)
        state.highest_us = offset_us if state.highest_us is None else max(state.highest_us, offset_us)

    def _end_period(self) -> None:
        """A day of running is over: follow the clock by what it held all the time."""
        state, offset_us = self._state, self._offset_us
        lowest_us, highest_us = state.lowest_us, state.highest_us
        if state.offset_us is not None and lowest_us is not None and highest_us is not None:
            if highest_us < state.offset_us:
                state.offset_us = highest_us
            elif state.has_recent or not state.has_records:
                state.offset_us = max(state.offset_us, lowest_us)
            if self.jump_us and abs(offset_us - state.offset_us) <= TOLERANCE_US:
                log.warning("clock.believed", seconds=self.jump_us / 1_000_000)
                self._expected_us, self.jump_us = offset_us, 0
        state.began_us, state.lowest_before_us = state.running_us, lowest_us
        state.lowest_us = state.highest_us = offset_us
        state.has_records = state.has_recent = False

    def _compare(self, offset_us: int) -> None:
        """With what it should be; told once for each jump, and when it is right again."""
        off_us = offset_us - self._expected_us
        if abs(off_us) <= TOLERANCE_US:
            self._expected_us = offset_us
            if self.jump_us:
                log.warning("clock.right_again", after_seconds=self.jump_us / 1_000_000)
            self.jump_us = 0
        else:
            self.jump_us = off_us
            if abs(offset_us - self._last_us) > TOLERANCE_US:
                self._count_jump(AHEAD if offset_us > self._last_us else BACK, off_us)
        self._last_us = offset_us

    def _count_jump(self, direction: str, off_us: int) -> None:
        self.jump_counts[direction] += 1
        log.warning("clock.jumped", direction=direction, seconds=off_us / 1_000_000)


def _tell(off_us: int) -> str:
    """Such as: 60 d 0 h ahead."""
    minutes = abs(off_us) // 60_000_000
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    size = f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
    return f"{size} {AHEAD if off_us > 0 else 'behind'}"
