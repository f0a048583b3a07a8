"""The only reader of the clock; everyone else is given a `Clock`."""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

from shared.record import MAX_TIMESTAMP_US

TIMESTAMPS = "RFC 3339 with a time zone, or epoch seconds from 0 on"
"""What `parse_timestamp` takes, in words."""

# RFC 3339 has no basic format and no weeks, which Python reads as well. A time without seconds is taken, too.
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)

# Which microseconds since 1970 don't have, nor Python: the last moment before it stands for all of it.
_LEAP_SECOND = re.compile(r"(:\d\d):60(\.\d+)?")

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC; with a time zone all about it takes three times as long


class Clock(Protocol):
    """Time as integers: `now_us` is UTC since 1970, `monotonic_us` has no fixed start; both in µs."""

    def now_us(self) -> int: ...

    def monotonic_us(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        now_us = time.time_ns() // 1000
        return now_us if now_us >= 0 else 0  # no record can be of before 1970; Python's own ends in 2262

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


def format_timestamp(timestamp_us: int) -> str:
    """RFC 3339 in UTC with a `Z`, and with microseconds only where there are any."""
    minute, past_us = divmod(timestamp_us, 60_000_000)
    second, fraction_us = divmod(past_us, 1_000_000)
    fraction = f".{fraction_us:06}" if fraction_us else ""
    return f"{_minute(minute)}:{second:02}{fraction}Z"


@lru_cache(1024)
def _minute(minute: int) -> str:
    """Up to its seconds: rows of a page are often of the same, and Python's way there takes half their time."""
    return (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def parse_timestamp(text: str) -> int:
    """Microseconds since 1970 from RFC 3339 or from epoch seconds; `ValueError` on anything else."""
    try:
        return _epoch_us(text)
    except ValueError:
        pass
    # A `+` that was not escaped in a query string arrives as a space.
    if len(text) > 6 and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError("not RFC 3339")
    text = _LEAP_SECOND.sub(r"\1:59.999999", text)
    delta = datetime.fromisoformat(text.upper()) - datetime(1970, 1, 1, tzinfo=UTC)
    return _before_year_10000((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)


def _epoch_us(text: str) -> int:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        raise ValueError("not a number of seconds")
    seconds, _, fraction = text.partition(".")
    return _before_year_10000(int(seconds or "0") * 1_000_000 + int(fraction[:6].ljust(6, "0")))


def _before_year_10000(timestamp_us: int) -> int:
    """A time zone west of Greenwich can lead beyond it, too."""
    if timestamp_us > MAX_TIMESTAMP_US:
        raise ValueError("after the year 9999")
    return timestamp_us
