"""The `model_*` families as Prometheus text, from templates rendered once per label.

The official client walks each sample in Python at each scrape; here a scrape is one `%` per model and
family, 20 to 50 times less work.
"""

import asyncio
from collections.abc import Sequence
from itertools import accumulate, chain, islice, zip_longest

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S, NO_TOTALS, ModelTotals
from metrics_sidecar.metrics.exemplars import Buckets, with_exemplars
from metrics_sidecar.metrics.live import Snapshot
from metrics_sidecar.metrics.templates import began_at, counter, histogram, labels_of
from metrics_sidecar.metrics.usage_samples import USAGE_FAMILIES, UsageSamples

FAMILIES = (
    # name, what only the older format appends to it, type, help; in the order of `_Model.render`
    ("model_invocations", "_total", "counter", "Total number of model invocations"),
    ("model_invocation_errors", "_total", "counter", "Number of failed model invocations by type of error"),
    ("model_invocation_latency_seconds", "", "histogram", "Latency of model invocations in seconds"),
    ("model_active_invocations", "", "gauge", "Number of currently active model invocations"),
    ("model_total_invocations", "", "gauge", "Total number of invocations per model"),
    ("model_success_rate", "", "gauge", "Success rate of model invocations as a percentage"),
    *USAGE_FAMILIES,
)

MODELS_PER_SLICE = 100
"""Rendered in one go: 0.7 ms, or 3 ms when all are new; then others have their turn on the event loop."""

NO_EXEMPLARS: Buckets = {}


class Exposition:
    """Renders all models. Keeps what it rendered of the labels that the last call had, and of no others: a
    model that nobody called since then costs next to nothing."""

    def __init__(self) -> None:
        self._models: dict[bool, dict[str, _Model]] = {False: {}, True: {}}
        self._heads = {openmetrics: _heads(openmetrics) for openmetrics in (False, True)}

    async def render(self, snapshot: Snapshot, openmetrics: bool) -> list[bytes]:
        """UTF-8, in parts of some 100 kB; together they are the text. A label that has only calls in flight gets
        zeros. There is no `# EOF`, so that other families can follow. Exemplars, and when a label's totals were zero,
        are OpenMetrics' alone."""
        totals, active, exemplars, created_us = snapshot
        traced, begun = (exemplars, created_us) if openmetrics else ({}, {})
        shown = self._models[openmetrics]
        models: dict[str, _Model] = {}
        families: list[list[bytes]] = [[head] for head in self._heads[openmetrics]]
        labels = iter(dict.fromkeys((*totals, *active)))
        while slice_ := [*islice(labels, MODELS_PER_SLICE)]:
            rows = []
            for label in slice_:
                model, created = shown.get(label), begun.get(label)
                if model is None or model.created_us != created:
                    model = _Model(label, created)
                models[label] = model
                rows.append(
                    model.render(totals.get(label, NO_TOTALS), active.get(label, 0), traced.get(label, NO_EXEMPLARS))
                )
            # Most have no samples of the last families.
            for family, samples in zip(families, zip_longest(*rows, fillvalue=b""), strict=False):
                family.append(b"".join(samples))
            await asyncio.sleep(0)
        self._models[openmetrics] = models
        return [*chain.from_iterable(families)]


class _Model:
    """The templates of one label's samples: bytes, which `%` fills in half the time it takes for text. And the
    samples as they were last time."""

    __slots__ = (
        *(
            "_active",
            "_began",
            "_count",
            "_error",
            "_invocations",
            "_labels",
            "_latency",
            "_rate",
            "_samples",
            "_shown",
        ),
        *("_usage", "created_us"),
    )

    def __init__(self, label: str, created_us: int | None) -> None:
        self.created_us = created_us
        self._labels, self._began = labels, began = labels_of(label), began_at(created_us)
        by_status = (f'{labels},status="{status}"' for status in ("success", "failure"))
        self._invocations = "".join(counter("model_invocations", of_status, began) for of_status in by_status).encode()
        self._error = counter("model_invocation_errors", f'{labels},error_type="%b"', began).encode()
        self._latency = histogram("model_invocation_latency_seconds", labels, BUCKET_BOUNDS_S, began)
        self._active = f"model_active_invocations{{{labels}}} %d\n".encode()
        self._count = f"model_total_invocations{{{labels}}} %d\n".encode()
        self._rate = f"model_success_rate{{{labels}}} %a\n".encode()
        self._usage: UsageSamples | None = None

        self._shown: tuple[ModelTotals | None, int, Buckets] = (None, 0, NO_EXEMPLARS)
        self._samples: tuple[bytes, ...] = ()

    def render(self, totals: ModelTotals, active: int, exemplars: Buckets) -> tuple[bytes, ...]:
        """This label's samples, one item per family; none of those that it has nothing to say in at the end."""
        # The very same objects have the same values: they are never changed.
        shown_totals, shown_active, shown_exemplars = self._shown
        if shown_totals is not totals or shown_active != active or shown_exemplars is not exemplars:
            self._shown = (totals, active, exemplars)
            self._samples = self._fill(totals, active, exemplars)
        return self._samples

    def _fill(self, totals: ModelTotals, active: int, exemplars: Buckets) -> tuple[bytes, ...]:
        cumulated = (*accumulate(totals.buckets),)
        count = cumulated[-1]
        latency = self._latency % (*cumulated, *divmod(totals.latency_us, 1_000_000), count)
        return (
            self._invocations % (totals.success_count, totals.failure_count),
            b"".join([self._error_of(kind.encode(), number) for kind, number in totals.errors.items()]),
            with_exemplars(latency, exemplars, 0),
            self._active % active,
            self._count % count,
            self._rate % (100 * totals.success_count / count) if count else b"",
            *(self._used(totals.usage, exemplars) if totals.usage else ()),
        )

    def _used(self, usage: Sequence[int], exemplars: Buckets) -> tuple[bytes, ...]:
        """Most models have none of it."""
        if self._usage is None:
            self._usage = UsageSamples(self._labels, self._began)
        return self._usage.fill(usage, exemplars)

    def _error_of(self, kind: bytes, number: int) -> bytes:
        return self._error % ((kind, number) if self.created_us is None else (kind, number, kind))


def _heads(openmetrics: bool) -> list[bytes]:
    """HELP and TYPE of each family; OpenMetrics names a counter's family without `_total`."""
    return [
        "# HELP {0} {1}\n# TYPE {0} {2}\n".format(name + ("" if openmetrics else suffix), help_, type_).encode()
        for name, suffix, type_, help_ in FAMILIES
    ]
