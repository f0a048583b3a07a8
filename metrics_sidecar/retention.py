"""What is kept for how long: rows and minutes for a while, hours for longer, days and totals for ever."""

from typing import NamedTuple

from metrics_sidecar.rollups import DAY, HOUR, MINUTE_US

HOURS_KEPT = 400 * DAY
"""Sums by the hour are kept for so many minutes, a year and what one asks for after it, or as long as rows."""


class Retention(NamedTuple):
    """Rows older than `age_us` are removed, and the oldest ones while the history takes more than `max_bytes`; None:
    are not."""

    age_us: int | None = None
    max_bytes: int | None = None

    def rows_from(self, now_us: int) -> int:
        """The minute from which rows, and the sums of minutes, are kept: a full hour."""
        if self.age_us is None:
            return 0
        return max(now_us - self.age_us, 0) // MINUTE_US // HOUR * HOUR

    def hours_from(self, now_us: int) -> int:
        """The minute from which the sums of hours are kept: the begin of a day."""
        if self.age_us is None:
            return 0
        age_us = max(self.age_us, HOURS_KEPT * MINUTE_US)
        return max(now_us - age_us, 0) // MINUTE_US // DAY * DAY

    def is_exceeded(self, used_bytes: int) -> bool:
        return self.max_bytes is not None and used_bytes > self.max_bytes


KEEP_ALL = Retention()


class Upkeep(NamedTuple):
    """How far a store is: rows removed since the process began, when the oldest of those that are left was accepted
    (None without any, or not looked for yet), and rows that are not in the sums over time yet."""

    removed_rows: int
    oldest_us: int | None
    waiting_rows: int
