"""How many calls an endpoint, or several, can have before they only wait there: found by how long calls take.

A pure function of samples and a given clock. Within a window the median says how long calls take now; as long as that
is about what they take where nothing waits (the baseline), the limit grows a little, and else it shrinks by their
ratio. Every so many windows, one with half the limit tells the baseline anew: an endpoint that has become slower for
good is not taken for one that is full. Windows lie at multiples of their length, so that all workers look at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import median

SHORTEST_US, LONGEST_US = 1_000_000, 64_000_000
WINDOW_LATENCIES = 8
"""A window is as long as so many calls after each other; 1, 2, 4 … 64 s."""
LEAST_SAMPLES, MOST_SAMPLES = 8, 1000
PROBE_EVERY = 16
TOLERANCE, LEAST_GRADIENT, STEP = 1.1, 0.5, 0.5
START = 10
"""Where a limit begins, if it may."""
PRECISION = 100
MOST_REFUSED = 0.1
"""More calls of a window that were refused or came to no end than this part are a sign as clear as any."""


def window_us(latency_us: float) -> int:
    length_us = SHORTEST_US
    while length_us < WINDOW_LATENCIES * latency_us and length_us < LONGEST_US:
        length_us *= 2
    return length_us


def is_probing(now_us: int, length_us: int) -> bool:
    """Whether this is a window with half the limit."""
    return now_us // length_us % PROBE_EVERY == 0


def next_limit(limit: float, baseline_us: float, latency_us: float, least: int, most: int, *, refused: bool) -> float:
    """After a window in which calls took so long."""
    gradient = LEAST_GRADIENT if refused else TOLERANCE * baseline_us / max(latency_us, 1.0)
    target = limit * min(max(gradient, LEAST_GRADIENT), 1.0) + (0.0 if refused else sqrt(limit) / 2)
    return min(max(limit + STEP * (target - limit), least), most)


def told(limit: float, *, probing: bool) -> int:
    """What a worker holds for right, as others read it: in hundredths, below zero while it is to be a half."""
    return max(round(limit * PRECISION), 1) * (-1 if probing else 1)


def in_force(found: Sequence[int]) -> int:
    """Of what the workers hold for right, at least one of them."""
    return round(sum(number if number > 0 else -number / 2 for number in found) / len(found) / PRECISION)


def agreed(found: Sequence[int]) -> float:
    """The same, where none is probing."""
    return sum(map(abs, found)) / len(found) / PRECISION


@dataclass(slots=True)
class Adapting:
    """What one worker knows. `limit`: its estimate, of the gateway as a whole."""

    limit: float
    baseline_us: float = 0.0
    length_us: int = SHORTEST_US
    window: int = -1
    refused: int = 0
    most_in_flight: int = 0
    latencies_us: list[int] = field(default_factory=list)

    def observe(self, began_us: int, now_us: int, in_flight: int, least: int, most: int, *, refused: bool) -> bool:
        """A call has ended, beside so many others of all workers. Whether a window has begun with it."""
        begins = now_us // self.length_us != self.window
        if begins:
            self._close(least, most)
            self.window, self.refused, self.most_in_flight = now_us // self.length_us, 0, 0
            self.latencies_us.clear()
        self.most_in_flight = max(self.most_in_flight, in_flight)
        if refused:
            self.refused += 1
        elif began_us >= self.window * self.length_us and len(self.latencies_us) < MOST_SAMPLES:
            self.latencies_us.append(now_us - began_us)
        return begins

    def _close(self, least: int, most: int) -> None:
        count = len(self.latencies_us) + self.refused
        if count < LEAST_SAMPLES:
            return
        refused = self.refused > MOST_REFUSED * count
        latency_us = median(self.latencies_us) if self.latencies_us else self.baseline_us
        probing = self.window % PROBE_EVERY == 0
        if not refused:
            self.baseline_us = latency_us if probing or not self.baseline_us else min(self.baseline_us, latency_us)
            self.length_us = window_us(latency_us)
        if probing or (not refused and self.most_in_flight < self.limit / 2):
            return  # it says nothing of the limit
        self.limit = next_limit(self.limit, self.baseline_us, latency_us, least, most, refused=refused)
