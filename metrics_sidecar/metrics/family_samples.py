"""Families of gateway workers' own numbers as Prometheus text: thousands of samples, so none is an object."""

import asyncio
from collections.abc import Mapping
from itertools import accumulate

from metrics_sidecar.intake.families import COUNTED, MEASURED, SPREADS, Counted, Measured, Spread, by_first
from metrics_sidecar.metrics.live import Families
from metrics_sidecar.metrics.templates import escaped, histogram
from shared.wire import SUM_US

Gauges = Mapping[str, Mapping[str, float]]


async def render_families(families: Families, openmetrics: bool) -> list[bytes]:
    """UTF-8, family by family; after each, others have their turn on the event loop."""
    counters, gauges = families
    parts: list[bytes] = []
    for name, counted in COUNTED.items():
        parts.append(_counter(name, counted, counters.get(f"{name}_total", {}), gauges, openmetrics).encode())
        await asyncio.sleep(0)
    for name, spread in SPREADS.items():
        parts.append(_histogram(name, spread, counters.get(name, {})).encode())
        await asyncio.sleep(0)
    for name, measured in MEASURED.items():
        parts.append(_gauge(name, measured, gauges.get(name, {})).encode())
        await asyncio.sleep(0)
    return parts


def _counter(name: str, family: Counted, counts: Mapping[str, int], gauges: Gauges, openmetrics: bool) -> str:
    """The values that are known are there at 0 from the start: a series that first shows at 1 looks to Prometheus like
    no increase."""
    zeros = dict.fromkeys(family.values, 0)
    found = dict.fromkeys(gauges.get(family.beside, ()), zeros)
    for first, of_first in by_first(counts).items():
        found[first] = {**zeros, **of_first}
    lines = [_head(name if openmetrics else f"{name}_total", family.help, "counter")]
    for first, of_first in found.items():
        labels = f'{name}_total{{{family.label}="{escaped(first)}"'
        if family.second:
            lines += [f'{labels},{family.second}="{escaped(value)}"}} {count}\n' for value, count in of_first.items()]
        else:
            lines += [f"{labels}}} {count}\n" for count in of_first.values()]
    return "".join(lines)


def _histogram(name: str, family: Spread, counts: Mapping[str, int]) -> str:
    bounds = (*map(str, family.bounds_s), "+Inf")
    lines = [_head(name, family.help, "histogram")]
    for first, of_first in by_first(counts).items():
        cumulated = [*accumulate(of_first.get(bound, 0) for bound in bounds)]
        template = histogram(name, f'{family.label}="{escaped(first)}"'.replace("%", "%%"), family.bounds_s, "")
        sum_us = divmod(of_first.get(SUM_US, 0), 1_000_000)
        lines.append((template % (*cumulated, *sum_us, cumulated[-1])).decode())
    return "".join(lines)


def _gauge(name: str, family: Measured, values: Mapping[str, float]) -> str:
    samples = (f'{name}{{{family.label}="{escaped(label)}"}} {value:.12g}\n' for label, value in values.items())
    return _head(name, family.help, "gauge") + "".join(samples)


def _head(name: str, help_: str, type_: str) -> str:
    return f"# HELP {name} {help_}\n# TYPE {name} {type_}\n"
