"""Latency distributions of the mock server, written as `fixed:20ms`, `uniform:10ms,50ms` or
`lognormal:120ms,0.5` (median and sigma)."""

import math
import re
from dataclasses import dataclass
from random import Random
from typing import Protocol

MAX_LATENCY_S = 3600.0
MAX_SIGMA = 3.0

ALLOWED = (
    "fixed:TIME, uniform:FROM,TO or lognormal:MEDIAN,SIGMA"
    f" with times like 20ms or 1.5s of at most {MAX_LATENCY_S:.0f}s and a sigma from 0 to {MAX_SIGMA:g}"
)

_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s)", re.ASCII)
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Latency(Protocol):
    """Gives one latency in seconds per call, from 0 to `MAX_LATENCY_S`."""

    def draw(self, random: Random) -> float: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    seconds: float

    def draw(self, random: Random) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything between two bounds, equally likely."""

    from_s: float
    to_s: float

    def draw(self, random: Random) -> float:
        return random.uniform(self.from_s, self.to_s)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Half are under the median, and a long tail is over it: what real model servers look like."""

    median_s: float
    sigma: float

    def draw(self, random: Random) -> float:
        return min(self.median_s * math.exp(random.gauss(0.0, self.sigma)), MAX_LATENCY_S)


def parse_latency(text: str) -> Latency:
    """The distribution that `text` writes down; `ValueError` names the text and what is allowed."""
    kind, _, arguments = text.partition(":")
    try:
        match kind, arguments.split(","):
            case "fixed", [time]:
                return Fixed(_seconds(time))
            case "uniform", [start, end] if _seconds(start) <= _seconds(end):
                return Uniform(_seconds(start), _seconds(end))
            case "lognormal", [median, sigma]:
                return Lognormal(_seconds(median), _sigma(sigma))
            case _:
                raise ValueError("no such distribution")
    except ValueError:
        raise ValueError(f"{text!r} is not {ALLOWED}") from None


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a time")
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if seconds > MAX_LATENCY_S:
        raise ValueError("too long")
    return seconds


def _sigma(text: str) -> float:
    sigma = float(text)
    if not 0.0 <= sigma <= MAX_SIGMA:
        raise ValueError("out of range")
    return sigma
