"""Families of workers' numbers as Prometheus reads them."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from metrics_sidecar.intake.families import COUNTED, MEASURED, OUTCOMES, SPREADS
from metrics_sidecar.intake.reported import Counters
from metrics_sidecar.metrics.family_samples import FamilySamples
from metrics_sidecar.metrics.live import Families
from shared.wire import UPSTREAM_BOUNDS_S

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
ATTEMPTS, HEALTHY = "invoker_upstream_attempts_total", "invoker_upstream_healthy"
LATENCY = "invoker_upstream_latency_seconds"


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def scraped(counters: Counters, gauges: dict[str, dict[str, float]], *, openmetrics: bool) -> Samples:
    text = b"".join(await FamilySamples().render(Families(counters, gauges), openmetrics)).decode()
    families = parse_openmetrics(text + "# EOF\n") if openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
    return {key(sample.name, **sample.labels): sample.value for family in families for sample in family.samples}


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_counters_gauges_and_histograms_have_their_labels(openmetrics: bool) -> None:
    """Whatever is in a label; of a histogram the counts are cumulated, and its sum is exact."""
    name = 'a\\"b%\nc'
    counters = {
        ATTEMPTS: {"u success": 7, f"{name} connect": 2},
        "invoker_upstream_ejections_total": {"u ": 3},
        "model_fallbacks_total": {"gpt 4 ": 5},
        LATENCY: {"u 0.005": 4, "u 60.0": 1, "u +Inf": 2, "u sum_us": 123_456_789, "u made_up": 9},
    }
    gauges = {HEALTHY: {"u": 0.5, name: 1.0}, "invoker_upstream_outstanding": {"u": 12.0}}
    samples = await scraped(counters, gauges, openmetrics=openmetrics)
    assert samples[key(ATTEMPTS, upstream="u", outcome="success")] == 7
    assert samples[key(ATTEMPTS, upstream=name, outcome="connect")] == 2
    assert samples[key("invoker_upstream_ejections_total", upstream="u")] == 3
    assert samples[key("invoker_upstream_ejections_total", upstream=name)] == 0
    assert samples[key("model_fallbacks_total", model_id="gpt 4")] == 5
    assert samples[key(HEALTHY, upstream="u")] == 0.5
    assert samples[key("invoker_upstream_outstanding", upstream="u")] == 12
    bounds = (*map(str, UPSTREAM_BOUNDS_S), "+Inf")
    assert [samples[key(f"{LATENCY}_bucket", upstream="u", le=bound)] for bound in bounds] == [0, *[4] * 12, 5, 7]
    assert samples[key(f"{LATENCY}_count", upstream="u")] == 7
    assert samples[key(f"{LATENCY}_sum", upstream="u")] == 123.456789


async def test_an_upstream_that_was_not_called_yet_is_there_at_0() -> None:
    """With all outcomes: a series that first shows at 1 looks to Prometheus like no increase."""
    samples = await scraped({}, {HEALTHY: {"u": 1.0}}, openmetrics=False)
    attempts = {labels: value for (name, labels), value in samples.items() if name == ATTEMPTS}
    assert attempts == {frozenset({("upstream", "u"), ("outcome", outcome)}): 0 for outcome in OUTCOMES}


async def test_each_family_is_described_without_any_sample() -> None:
    text = b"".join(await FamilySamples().render(Families({}, {}), openmetrics=True)).decode()
    named = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    assert named == [
        *([name, "counter"] for name in COUNTED),
        *([name, "histogram"] for name in SPREADS),
        *([name, "gauge"] for name in MEASURED),
    ]
