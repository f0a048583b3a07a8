"""Which times records may have. What a gateway's wrong clock wrote would be first on each page for years, or be removed
at once as too old: such a record is given the time of its arrival, and counted."""

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from msgspec.structs import replace

from shared.record import MAX_TIMESTAMP_US, Record

FUTURE, PAST = "future", "past"
REASONS = (FUTURE, PAST)
"""Why a record's time can't be: after tomorrow, or from before what is kept of invocations."""

_timestamp = attrgetter("timestamp_us")


class Times(NamedTuple):
    """From `earliest_us` to `latest_us`, both included; `arrival_us`: now, as well as it is known."""

    earliest_us: int
    latest_us: int
    arrival_us: int

    def clamp(self, records: list[Record]) -> tuple[list[Record], int | None, dict[str, int]]:
        """The records; the latest time that one of them had by itself, None if none had; and how many had none, by
        reason. (These are the ones that may be wrong: their number is small, and so is what all others cost.)"""
        if not records:
            return records, None, {}
        newest_us: int = max(map(_timestamp, records))
        if newest_us <= self.latest_us and min(map(_timestamp, records)) >= self.earliest_us:
            return records, newest_us, {}
        reasons = [*map(self._reason, records)]
        clamped = Counter(reason for reason in reasons if reason is not None)
        newest = _newest(record for record, reason in zip(records, reasons, strict=True) if reason is None)
        return (
            [
                record if reason is None else replace(record, timestamp_us=self.arrival_us)
                for record, reason in zip(records, reasons, strict=True)
            ],
            newest,
            dict(clamped),
        )

    def _reason(self, record: Record) -> str | None:
        if record.timestamp_us > self.latest_us:
            return FUTURE
        return PAST if record.timestamp_us < self.earliest_us else None


def _newest(records: Iterable[Record]) -> int | None:
    return max(map(_timestamp, records), default=None)


ANY_TIME = Times(0, MAX_TIMESTAMP_US, MAX_TIMESTAMP_US)
