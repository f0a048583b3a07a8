"""Families of gateway workers' own numbers as Prometheus text: thousands of samples, so none is an object."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping

from metrics_sidecar.intake.families import COUNTED, MEASURED, SPREADS, Counted, Measured, Spread, joined, parted
from metrics_sidecar.metrics.live import Families
from metrics_sidecar.metrics.templates import escaped, histogram
from shared.wire import SUM_US

SAMPLES_PER_SLICE = 500
"""Rendered in one go, in a millisecond or two; then others have their turn on the event loop."""

Gauges = Mapping[str, Mapping[str, float]]


class FamilySamples:
    """Keeps what samples begin with, by label: labels are bounded, and there are few new ones."""

    def __init__(self) -> None:
        self._counters = [_Counters(name, family) for name, family in COUNTED.items()]
        self._histograms = [_Histograms(name, family) for name, family in SPREADS.items()]

    async def render(self, families: Families, openmetrics: bool) -> list[bytes]:
        """UTF-8, family by family; of a counter's, OpenMetrics names no `_total`."""
        counters, gauges = families
        parts: list[bytes] = []
        for counter in self._counters:
            counted = counters.get(f"{counter.name}_total", {})
            parts.append(
                _head(counter.name if openmetrics else f"{counter.name}_total", counter.family.help, "counter")
            )
            await _add(parts, counter.samples(counted, gauges))
        for spread in self._histograms:
            parts.append(_head(spread.name, spread.family.help, "histogram"))
            await _add(parts, spread.samples(counters.get(spread.name, {})))
        for name, family in MEASURED.items():
            parts.append(_head(name, family.help, "gauge"))
            await _add(parts, _gauges(name, family, gauges.get(name, {})))
        return parts


class _Labels:
    """The first labels of a family, of which none goes."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._of = (0, 0)

    def firsts(self, counts: Mapping[str, int]) -> dict[str, None]:
        """Looked for again only where there are more of both labels."""
        if self._of != (state := (id(counts), len(counts))):
            self._of = state
            self._known = dict.fromkeys(parted(both)[0] for both in counts)
        return self._known


class _Counters:
    def __init__(self, name: str, family: Counted) -> None:
        self.name, self.family = name, family
        self._labels = _Labels()
        self._begins: dict[str, str] = {}
        self._at_0: dict[str, dict[str, int]] = {}

    def samples(self, counts: Mapping[str, int], gauges: Gauges) -> Iterator[str]:
        """The values that are known are there at 0 from the start: a series that first shows at 1 looks to Prometheus
        like no increase."""
        shown: dict[str, int] = {}
        for first in {**self._labels.firsts(counts), **dict.fromkeys(gauges.get(self.family.beside, ()))}:
            at_0 = self._at_0.get(first)
            if at_0 is None:
                at_0 = self._at_0[first] = {joined(first, value): 0 for value in self.family.values}
            shown |= at_0
        begins = self._begins
        for both, count in {**shown, **counts}.items():
            begin = begins.get(both)
            if begin is None:
                begin = begins[both] = self._begin(both)
            yield f"{begin}{count}\n"

    def _begin(self, both: str) -> str:
        first, second = parted(both)
        more = f',{self.family.second}="{escaped(second)}"' if self.family.second else ""
        return f'{self.name}_total{{{self.family.label}="{escaped(first)}"{more}}} '


class _Histograms:
    def __init__(self, name: str, family: Spread) -> None:
        self.name, self.family = name, family
        self._labels = _Labels()
        self._bounds = (*map(str, family.bounds_s), "+Inf")
        self._templates: dict[str, tuple[str, list[str]]] = {}

    def samples(self, counts: Mapping[str, int]) -> Iterator[str]:
        """Each is all of one label's."""
        for first in self._labels.firsts(counts):
            kept = self._templates.get(first)
            if kept is None:
                kept = self._templates[first] = self._template(first), [joined(first, bound) for bound in self._bounds]
            template, buckets = kept
            cumulated = [*itertools.accumulate([counts.get(bucket, 0) for bucket in buckets])]
            yield template % (*cumulated, *divmod(counts.get(joined(first, SUM_US), 0), 1_000_000), cumulated[-1])

    def _template(self, first: str) -> str:
        labels = f'{self.family.label}="{escaped(first)}"'.replace("%", "%%")
        return histogram(self.name, labels, self.family.bounds_s, "").decode()


def _gauges(name: str, family: Measured, values: Mapping[str, float]) -> Iterator[str]:
    for label, value in values.items():
        yield f'{name}{{{family.label}="{escaped(label)}"}} {value:.12g}\n'


async def _add(parts: list[bytes], samples: Iterator[str]) -> None:
    while slice_ := "".join(itertools.islice(samples, SAMPLES_PER_SLICE)):
        parts.append(slice_.encode())
        await asyncio.sleep(0)


def _head(name: str, help_: str, type_: str) -> bytes:
    return f"# HELP {name} {help_}\n# TYPE {name} {type_}\n".encode()
