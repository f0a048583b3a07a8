"""A model that Prometheus first sees with calls: its first failures count, and nothing counts that is not new."""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.prometheus.monitoring import monitoring
from tests.deploy.prometheus.rules import Case, Labels, Values, check, check_recorded, flat, metric, phases, rising
from tests.deploy.prometheus.rules import without as without_samples
from tests.deploy.prometheus.test_model_rules import outcomes
from tests.processes import eventually, system

PAGE: Labels = {"model_id": "new", "severity": "page"}
BORN, END = 10.0, 60.0
"""Minutes: when the model is called, and when the series end."""

Series = dict[str, Values]


def committed(values: Values, instance: str = "one") -> Series:
    """Records that a sidecar has committed since its process began."""
    return {metric("sidecar_records_committed_total", job="metrics-sidecar", instance=instance): values}


def born(failures: float, at: float = BORN, instance: str = "one") -> Series:
    """A model that is first seen with so many failures, and never called again."""
    before, after = [None] * round(at * 4), END - at
    return outcomes([*before, *flat(0, after)], [*before, *flat(failures, after)], "new", instance)


def busy(instance: str = "one") -> Series:
    """Ten calls a minute of another model, none of which fails."""
    return outcomes(rising(10, END), flat(0, END), "old", instance)


def sidecar(*parts: tuple[float, float]) -> Series:
    """One that has committed in phases of (records per minute, minutes), and is busy besides."""
    return {**busy(), **committed(phases(*parts))}


FIFTY_MORE = sidecar((10, BORN - 0.25), (210, 0.25), (10, END - BORN))
FAILED = born(50)


def old(end: float = END) -> Series:
    """A model with a thousand calls, of which many have failed long ago."""
    return {
        **outcomes(rising(10, end, 800), flat(200, end), "new"),
        **outcomes(rising(10, end), flat(0, end), "old"),
        **committed(rising(20, end)),
    }


def away(series: Mapping[str, Values], start: float, end: float) -> Series:
    """The same while the sidecar, or Prometheus, is away."""
    return {name: without_samples(values, start, end) for name, values in series.items()}


def renamed(series: Mapping[str, Values], at: float) -> Series:
    """The same from then on under another instance."""
    cut = round(at * 4)
    old = {name: [*values[:cut], *[None] * (len(values) - cut)] for name, values in series.items()}
    new = {name.replace('"one"', '"two"'): [*[None] * cut, *values[cut:]] for name, values in series.items()}
    return {**old, **new}


RESTARTED = committed([*rising(10, BORN - 2), *[None] * 4, *rising(10, END - BORN + 1, 50)])

FIRES = [
    Case(
        "fifty failing first calls within one scrape",
        {**FIFTY_MORE, **FAILED},
        {9.5: [], 11: [PAGE], 14: [PAGE], 38: [PAGE], 41: []},  # over 6 h and 30 min for half an hour
    ),
    Case(
        "on a sidecar that is as old as 3 minutes",
        {**committed([*flat(0, 3), *flat(50, END - 3)]), **born(50, 3)},
        {2.75: [], 4: [PAGE]},
    ),
    Case(
        "of two replicas, one of which has not called it",
        {**FIFTY_MORE, **FAILED, **busy("two"), **committed(rising(10, END), "two")},
        {11: [PAGE]},
    ),
    Case("after a restart of the sidecar, from the journal", {**busy(), **RESTARTED, **FAILED}, {11.5: [PAGE]}),
    Case("and while the model's first minutes were a gap", away({**FIFTY_MORE, **FAILED}, 11, 12), {12.5: [PAGE]}),
]

PROMOTED = {**FIFTY_MORE, **born(100_000)}
QUIET = [
    Case(
        "a restarted sidecar with all its counters", away(old(), 10, 11), {10.5: [], 11.25: [], 13: [], 16: [], 50: []}
    ),
    Case("a sidecar that was away for half an hour", away(old(), 10, 40), {40.25: [], 42: [], 45: [], 55: []}),
    Case("a sidecar that was away for more than an hour", away(old(100), 10, 80), {80.25: [], 82: [], 85: [], 95: []}),
    Case("another name of the instance", renamed(old(), 10), {10.25: [], 12: [], 15: [], 50: []}),
    Case(
        "a new Prometheus, which knows nothing",
        {**outcomes(flat(900, END), flat(100, END), "new"), **committed(rising(10, END, 5000))},
        {0.25: [], 2.5: [], 6: [], 50: []},
    ),
    Case("a label that has more than was committed since", PROMOTED, {10.25: [], 12: [], 15: [], 50: []}),
    Case(
        "a model that is promoted: it begins at zero, and what it had stays",
        {
            **FIFTY_MORE,
            **outcomes([None] * 40 + [*rising(10, END - BORN)], [None] * 40 + [*flat(0, END - BORN)], "new"),
            **outcomes(flat(5, END), flat(5000, END), "__overflow__"),
        },
        {10.25: [], 12: [], 15: [], 50: []},
    ),
    Case("a new model without failures", {**FIFTY_MORE, **born(0)}, {11: [], 14: [], 50: []}),
    Case("a new model with four failures", {**FIFTY_MORE, **born(4)}, {11: [], 14: [], 50: []}),
]


def test_the_page_sees_the_first_calls_of_a_model(tmp_path: Path) -> None:
    """Fifty that fail before the first scrape of it, whatever happens besides."""
    check("ModelErrorBudgetBurnFast", FIRES, tmp_path)


def test_nothing_old_is_taken_for_new(tmp_path: Path) -> None:
    """Many calls failed before, so that each of these would page if they counted now."""
    check("ModelErrorBudgetBurnFast", QUIET, tmp_path)


def test_no_ticket_for_a_burst(tmp_path: Path) -> None:
    """The error rate has to last for 5 minutes, which calls of one moment don't."""
    minutes: dict[float, list[Labels]] = {BORN + quarter / 4: [] for quarter in range(40)}
    check("ModelHighErrorRate", [Case("a burst", {**FIFTY_MORE, **FAILED}, minutes)], tmp_path)


def test_nobody_misses_a_model_that_was_called_once(tmp_path: Path) -> None:
    """An id with a typing error is no model that has fallen silent."""
    check("ModelNoActivity", [Case("once", {**FIFTY_MORE, **FAILED}, {22: [], 40: [], 55: []})], tmp_path)


def test_slow_first_calls(tmp_path: Path) -> None:
    """The 95th percentile of a new model is of all its calls: of fifty that took 2.5 to 5 s, with none after them."""
    before = [None] * round(BORN * 4)
    labels = {"model_id": "new", "job": "metrics-sidecar", "instance": "one"}
    buckets = {
        metric("model_invocation_latency_seconds_bucket", **labels, le=bound): [*before, *flat(count, END - BORN)]
        for bound, count in (("2.0", 0), ("2.5", 0), ("5.0", 50), ("+Inf", 50))
    }
    p95 = {'model:model_invocation_latency_seconds:p95_rate5m{model_id="new"}': 2.5 + 0.95 * 2.5}
    check_recorded({**FIFTY_MORE, **FAILED, **buckets}, 12, p95, tmp_path)


@pytest.mark.parametrize("features", ["exemplar-storage", "exemplar-storage,created-timestamp-zero-ingestion"])
def test_fifty_failing_first_calls_page(features: str, tmp_path: Path) -> None:
    """Through a real sidecar that is frozen meanwhile, so that one scrape has them all: with Prometheus' feature that
    knows when a counter was zero, and without it."""
    with system(tmp_path) as started:
        started.start_mock(MOCK_FAILURE_RATE="1")
        sidecar = started.start_sidecar()
        started.start_gateway()
        with monitoring(tmp_path, [started.sidecar_url], features) as watching:
            eventually(lambda: watching.query("instance:sidecar_records_committed:increase2m"), bool, 60)
            sidecar.signal(signal.SIGSTOP)
            for _ in range(50):
                started.invoke("new")
            sidecar.signal(signal.SIGCONT)
            eventually(lambda: watching.webhook.alerts("ModelErrorBudgetBurnFast"), {"new"}.__eq__, 60)
            failures = "max_over_time(model:model_invocation_failures:increase1h[5m])"
            # None is missed; as a minute is a second here, `increase` may add up to as much again between two scrapes.
            eventually(lambda: watching.query(failures).get('model_id="new"', 0.0), lambda n: 50.0 <= n < 100.0, 30)
