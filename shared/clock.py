"""The only reader of the clock; everyone else is given a `Clock`."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time as integers: `now_us` is UTC since 1970, `monotonic_us` has no fixed start; both in µs."""

    def now_us(self) -> int: ...

    def monotonic_us(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


def format_timestamp(timestamp_us: int) -> str:
    """RFC 3339 in UTC with a `Z`, and with microseconds only where there are any."""
    moment = datetime.fromtimestamp(timestamp_us // 1_000_000, UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = timestamp_us % 1_000_000
    return f"{text}.{fraction:06d}Z" if fraction else f"{text}Z"


def parse_timestamp(text: str) -> int:
    """Microseconds since 1970 from RFC 3339 or from epoch seconds; `ValueError` on anything else."""
    try:
        return _epoch_us(text)
    except ValueError:
        pass
    # A `+` that was not escaped in a query string arrives as a space.
    if len(text) > 6 and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"
    moment = datetime.fromisoformat(text.upper())  # RFC 3339 allows `t` and `z` as well
    if moment.tzinfo is None:
        raise ValueError("a time zone is missing")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _epoch_us(text: str) -> int:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        raise ValueError("not a number of seconds")
    seconds, _, fraction = text.partition(".")
    epoch_us = int(seconds or "0") * 1_000_000 + int(fraction[:6].ljust(6, "0"))
    if epoch_us > 253_402_300_799_999_999:  # the end of the year 9999
        raise ValueError("after the year 9999")
    return epoch_us
