"""Stretches of time as they are asked for: `window=24h`, or from one moment to another."""

import re
from typing import NamedTuple

MINUTE_US = 60_000_000
HOUR, DAY = 60, 24 * 60
"""In minutes."""
DAY_US = DAY * MINUTE_US
UNITS_US = {"s": 1_000_000, "m": MINUTE_US, "h": HOUR * MINUTE_US, "d": DAY_US, "w": 7 * DAY_US}
MAX_WINDOW_US = 3660 * DAY_US

_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)


class Window(NamedTuple):
    """From `since_us` on and before `until_us`, both µs since 1970."""

    since_us: int
    until_us: int


def parse_duration(text: str) -> int:
    """µs of a number and its unit, such as 5m; `ValueError` for anything else, or beyond ten years."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration")
    duration_us = int(match[1]) * UNITS_US[match[2]]
    if duration_us > MAX_WINDOW_US:
        raise ValueError("longer than ten years")
    return duration_us


def window_before(now_us: int, length_us: int) -> Window:
    """The window of this length up to now. A long one begins a bit earlier, where there is a larger bucket."""
    if length_us >= 7 * DAY_US:
        grain_us = HOUR * MINUTE_US
    elif length_us >= DAY_US:
        grain_us = 10 * MINUTE_US
    else:
        grain_us = MINUTE_US
    return Window(max((now_us - length_us) // grain_us * grain_us, 0), now_us)


def align(window: Window, step_us: int) -> Window:
    """The whole steps that a window touches."""
    return Window(window.since_us // step_us * step_us, -(-window.until_us // step_us) * step_us)
