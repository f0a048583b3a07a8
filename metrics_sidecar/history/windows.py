"""Stretches of time as they are asked for: `window=24h`, or from one moment to another."""

import re
from typing import NamedTuple

import msgspec

from metrics_sidecar.history.rollups import DAY, HOUR, MINUTE_US, Sums

DAY_US = DAY * MINUTE_US
UNITS_US = {"s": 1_000_000, "m": MINUTE_US, "h": HOUR * MINUTE_US, "d": DAY_US, "w": 7 * DAY_US}
MAX_WINDOW_US = 3660 * DAY_US

_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)


class Window(NamedTuple):
    """From `since_us` on and before `until_us`, both µs since 1970."""

    since_us: int
    until_us: int


class SeriesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Sums per step of a window that begins and ends with one. Those of `models` (true ids) and of those that begin
    with one of `prefixes`, or of all without any: together, or `by_model` each (by label, without any). `percent`:
    which percentile of the latency, too."""

    window: Window
    step_minutes: int
    models: tuple[str, ...] = ()
    by_model: bool = False
    percent: int | None = None
    prefixes: tuple[str, ...] = ()


PERCENTS = (50, 90, 95, 99)
"""The percentiles of a window, in order."""


class WindowStats(Sums, frozen=True):
    """With percentiles (`PERCENTS`) of the latency, within 1 %."""

    percentiles_us: tuple[float, ...]


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sums of one step that has records, which begins with `minute`."""

    minute: int
    success_count: int
    failure_count: int
    latency_us: int
    percentile_us: float | None = None

    @property
    def count(self) -> int:
        return self.success_count + self.failure_count


ALL = ""
"""In place of a model's id: all together. No model has it."""

Series = dict[str, list[Step]]
"""By model (`ALL`: together), the steps that have records, in order."""


class WindowAnswer(NamedTuple):
    """Statistics by model; and of which time, for what is long ago is only known by hours, and later by days."""

    window: Window
    stats: dict[str, WindowStats]


class SeriesAnswer(NamedTuple):
    """From when on there are such steps, and their sums."""

    window: Window
    series: Series


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
