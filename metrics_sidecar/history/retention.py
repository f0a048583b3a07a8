"""What is kept for how long: rows, and sums by the minute, by the hour and by the day, each for a time of its own."""

from typing import NamedTuple

from metrics_sidecar.history.windows import DAY, HOUR, MINUTE_US


class Kept(NamedTuple):
    """The minutes from which all is kept: rows, and sums in buckets of minutes, hours and days. None is kept shorter
    than what is finer, and each begins with a whole bucket of what is coarser."""

    rows: int = 0
    minutes: int = 0
    hours: int = 0
    days: int = 0

    @property
    def levels(self) -> dict[int, int]:
        """Length of buckets, in minutes → the minute from which they are kept."""
        return {1: self.minutes, HOUR: self.hours, DAY: self.days}


class Retention(NamedTuple):
    """How old rows and sums may get; None: any age. Beyond `max_bytes` the oldest rows and minutes go, too."""

    rows_us: int | None = None
    minutes_us: int | None = None
    hours_us: int | None = None
    days_us: int | None = None
    max_bytes: int | None = None

    def kept(self, now_us: int) -> Kept:
        """By age alone."""
        rows = _from(now_us, self.rows_us, HOUR)
        minutes = min(_from(now_us, self.minutes_us, HOUR), rows)
        hours = min(_from(now_us, self.hours_us, DAY), minutes) // DAY * DAY
        return Kept(rows, minutes, hours, min(_from(now_us, self.days_us, DAY), hours))

    def is_exceeded(self, used_bytes: int) -> bool:
        return self.max_bytes is not None and used_bytes > self.max_bytes


def _from(now_us: int, age_us: int | None, grain: int) -> int:
    return 0 if age_us is None else max(now_us - age_us, 0) // MINUTE_US // grain * grain


KEEP_ALL = Retention()


class Upkeep(NamedTuple):
    """How far a store is: rows removed since the process began, when the oldest of those that are left was accepted
    (None without any, or not looked for yet), and rows that are not in the sums over time yet; and bytes of what could
    not be read that were removed for their age."""

    removed_rows: int
    oldest_us: int | None
    waiting_rows: int
    removed_unread_bytes: int = 0
