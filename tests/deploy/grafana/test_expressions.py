"""The dashboards' expressions are PromQL, and right for more than one gateway and sidecar."""

from pathlib import Path

import pytest

from tests.deploy.grafana.dashboards import NAMES, annotations, targets
from tests.deploy.grafana.filled import escape_regex, fill_expression
from tests.deploy.grafana.promtool import check_syntax, check_values

MODEL = 'model_invocations_total{{job="metrics-sidecar", instance="{}", model_id="{}", status="{}"}}'
BUCKET = 'model_invocation_latency_seconds_bucket{{job="metrics-sidecar", instance="{}", model_id="m", le="{}"}}'

# Per 5 s: a is busy and fails in 1 of 10 calls; b is nearly idle and fails in each second call. In all, 12 of 104.
TWO_REPLICAS = {
    MODEL.format("a", "m", "success"): "0+90x60",
    MODEL.format("a", "m", "failure"): "0+10x60",
    MODEL.format("b", "m", "success"): "0+2x60",
    MODEL.format("b", "m", "failure"): "0+2x60",
    MODEL.format("b", "idle", "success"): "7x60",
    MODEL.format("b", "idle", "failure"): "0x60",
    'model_total_invocations{job="metrics-sidecar", instance="a", model_id="m"}': "0+100x60",
    'model_total_invocations{job="metrics-sidecar", instance="b", model_id="m"}': "0+4x60",
    # 98 of 100 of a's calls, and none of b's, take less than 0.1 s; all others less than 5 s.
    BUCKET.format("a", "0.1"): "0+98x60",
    BUCKET.format("a", "5.0"): "0+100x60",
    BUCKET.format("a", "+Inf"): "0+100x60",
    BUCKET.format("b", "0.1"): "0x60",
    BUCKET.format("b", "5.0"): "0+4x60",
    BUCKET.format("b", "+Inf"): "0+4x60",
}


def expression_of(title: str, number: int = 0, models: tuple[str, ...] = ()) -> str:
    """The panel's query with its variables filled in, for a time range of 5 minutes."""
    found = [target["expr"] for name in NAMES for panel, target in targets(name) if panel == title]
    return fill_expression(found[number], 300, models)


@pytest.mark.parametrize("name", NAMES)
def test_every_expression_is_promql(name: str, tmp_path: Path) -> None:
    """Also with one model and with several chosen, whatever they are called."""
    written = [
        *(target["expr"] for _, target in targets(name)),
        *(annotation["target"]["expr"] for annotation in annotations(name)),
    ]
    chosen: list[tuple[str, ...]] = [(), ("gpt-3.5",), ("a.b|c", "back\\slash", "brace{}$")]
    filled = [fill_expression(expression, 3600, models) for expression in written for models in chosen]
    check_syntax({f"expression:{number}": expression for number, expression in enumerate(filled)}, tmp_path)


def test_figures_are_right_across_replicas(tmp_path: Path) -> None:
    """A busy replica and an idle one: rates and buckets are added up, then divided."""
    all_series = "{}"
    p95 = expression_of("Response Time Percentiles", 1)
    expected: dict[str, dict[str, float]] = {
        expression_of("Invocations"): {all_series: 104 * 60},
        expression_of("Success Rate"): {all_series: 100 * 92 / 104},
        expression_of("Failures"): {all_series: 12 * 60},
        expression_of("Requests per Minute"): {all_series: 104 * 12},
        expression_of("Success Rate by Model"): {'{model_id="m"}': 100 * 92 / 104},
        expression_of("Error Rate Over Time"): {'{model_id="m"}': 100 * 12 / 104},
        expression_of("Invocation Rate"): {'{model_id="m"}': 104 * 12, '{model_id="idle"}': 0},
        expression_of("Total Invocations per Model"): {'{model_id="m"}': 104 * 60},
        expression_of("Success vs Failure Pie Chart"): {'{status="success"}': 92 * 60, '{status="failure"}': 12 * 60},
        # 98 of 104 calls are below 0.1 s, so the 98.8th of them is 0.8 of 6 on the way from 0.1 s to 5 s.
        p95: {all_series: 0.1 + 4.9 * (0.95 * 104 - 98) / 6},
    }
    check_values(TWO_REPLICAS, expected, "300s", tmp_path)


def test_without_traffic_there_is_no_rate(tmp_path: Path) -> None:
    """0 failures of 0 calls are neither 0 % nor NaN: the panel says "No traffic"."""
    idle = dict.fromkeys(TWO_REPLICAS, "5x60")
    nothing: dict[str, dict[str, float]] = {
        expression_of(title): {}
        for title in (
            "Success Rate",
            "95th Percentile",
            "Success Rate by Model",
            "Error Rate Over Time",
            "Response Time Percentiles",
        )
    }
    check_values(idle, nothing, "300s", tmp_path)


def test_the_first_drop_is_seen(tmp_path: Path) -> None:
    """Also where the counter appears with it; what was dropped before the time range is not in it."""
    counter = 'invoker_records_dropped_total{{job="metrics-sidecar", instance="{}", reason="journal_full"}}'
    series = {counter.format("new"): "_x80 7x40", counter.format("old"): "5x80 8x40"}
    of_old = 3 * 300 / 295  # Prometheus stretches what 60 samples show to the whole 5 minutes
    check_values(series, {expression_of("Dropped"): {"{}": 7 + of_old}}, "590s", tmp_path)


def test_a_chosen_model_is_that_one(tmp_path: Path) -> None:
    """Its name is no pattern: the dot of gpt-3.5 is a dot."""
    series = {MODEL.format("a", model, "success"): "0+1x60" for model in ("gpt-3.5", "gpt-3x5", "x", "a|x")}
    expected = {
        expression_of("Invocation Rate", models=("gpt-3.5",)): {'{model_id="gpt-3.5"}': 12.0},
        expression_of("Invocation Rate", models=("gpt-3.5", "a|x")): {
            '{model_id="gpt-3.5"}': 12.0,
            '{model_id="a|x"}': 12.0,
        },
    }
    check_values(series, expected, "300s", tmp_path)


def test_what_means_something_is_escaped() -> None:
    """As Grafana's Prometheus data source does for a variable of several values."""
    assert escape_regex("gpt-3.5") == r"gpt-3\\.5"
    assert escape_regex("a\\b") == r"a\\\\b"
