"""The dashboards' expressions are PromQL, and right for more than one gateway and sidecar."""

from pathlib import Path

import pytest

from tests.deploy.grafana.dashboards import NAMES, annotations, targets
from tests.deploy.grafana.filled import escape_regex, fill_expression
from tests.deploy.grafana.promtool import check_syntax, check_values

MODEL = 'model_invocations_total{{job="metrics-sidecar", instance="{}", model_id="{}", status="{}"}}'
BUCKET = 'model_invocation_latency_seconds_bucket{{job="metrics-sidecar", instance="{}", model_id="m", le="{}"}}'

FIRST_TOKEN = 'model_time_to_first_token_seconds_bucket{{job="metrics-sidecar", instance="{}", model_id="m", le="{}"}}'
TOKENS = 'model_tokens_total{{job="metrics-sidecar", instance="{}", model_id="m", type="{}"}}'
COST = 'model_cost_usd_total{{job="metrics-sidecar", instance="{}", model_id="{}"}}'
MISSING = 'model_usage_missing_total{{job="metrics-sidecar", instance="{}", model_id="m"}}'

# Per 5 s: a is busy and fails in 1 of 10 calls; b is nearly idle and fails in each second call. In all, 12 of 104.
UP = 'up{{job="metrics-sidecar", instance="{}"}}'
TWO_REPLICAS = {
    UP.format("a"): "1x60",
    UP.format("b"): "1x60",
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
    # Streams: 98 of 100 of a's began within 0.1 s, and none of b's 4, all of them within 2.5 s.
    FIRST_TOKEN.format("a", "0.1"): "0+98x60",
    FIRST_TOKEN.format("a", "2.5"): "0+100x60",
    FIRST_TOKEN.format("a", "+Inf"): "0+100x60",
    FIRST_TOKEN.format("b", "0.1"): "0x60",
    FIRST_TOKEN.format("b", "2.5"): "0+4x60",
    FIRST_TOKEN.format("b", "+Inf"): "0+4x60",
    TOKENS.format("a", "input"): "0+500x60",
    TOKENS.format("a", "output"): "0+1000x60",
    TOKENS.format("b", "output"): "7+5x60",
    COST.format("a", "m"): "0+0.5x60",
    COST.format("b", "m"): "0+0.01x60",
    COST.format("b", "idle"): "3x60",
    MISSING.format("a"): "0+1x60",
    MISSING.format("b"): "0+2x60",
}

COSTS = ("Cost Today", "Cost This Month", "Cost in the Last Hour")

OF_MODELS = (
    "Worst Success Rate",
    "Worst 95th Percentile",
    "Requests per Minute",
    "Active",
    "Invocations",
    "Failures",
    "Success Rate",
    "95th Percentile",
    "Success Rate by Model",
    "95th Percentile to First Token",
    "Output Tokens per Second",
    "Without Usage",
    *COSTS,
)


def expression_of(title: str, number: int = 0, models: tuple[str, ...] = (), range_s: int = 300) -> str:
    """The panel's query with its variables filled in, for a time range of 5 minutes."""
    found = [target["expr"] for name in NAMES for panel, target in targets(name) if panel == title]
    return fill_expression(found[number], range_s, models)


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


def test_streams_tokens_and_cost_are_right_across_replicas(tmp_path: Path) -> None:
    """What begins, is used and spent at both: rates and buckets are added up; shares come from counters."""
    first = 0.1 + 2.4 * (0.95 * 104 - 98) / 6
    expected: dict[str, dict[str, float]] = {
        **{expression_of(title): {"{}": 0.51 * 60} for title in COSTS},
        expression_of("Cost per Hour"): {"{}": 0.51 * 720},
        expression_of("Cost per Hour", 1): {'{model_id="m"}': 0.51 * 720, '{model_id="idle"}': 0},
        expression_of("Cost by Model"): {'{model_id="m"}': 0.51 * 60},
        expression_of("Output Tokens per Second"): {"{}": 201},
        expression_of("Tokens per Second"): {'{type="input"}': 100, '{type="output"}': 201},
        expression_of("95th Percentile to First Token"): {"{}": first},
        expression_of("Time to First Token", 1): {"{}": first},
        expression_of("Time to First Token by Model"): {'{model_id="m"}': first},
        expression_of("Without Usage"): {"{}": 100 * 3 / 92},
        expression_of("Without Usage by Model"): {'{model_id="m"}': 3 * 60},
    }
    check_values(TWO_REPLICAS, expected, "300s", tmp_path)


def test_without_traffic_there_is_no_rate(tmp_path: Path) -> None:
    """0 failures of 0 calls are not 0 %: a figure is NaN, which says "No traffic", a graph is empty."""
    idle = {**dict.fromkeys(TWO_REPLICAS, "5x720"), UP.format("a"): "1x720"}
    figures = (
        "Success Rate",
        "95th Percentile",
        "Success Rate by Model",
        "Worst Success Rate",
        "Worst 95th Percentile",
    )
    graphs = (
        "Error Rate Over Time",
        "Response Time Percentiles",
        "95th Percentile by Model",
        "Time to First Token",
        "Time to First Token by Model",
        "Time per Output Token",
        "Cost by Model",
        "Without Usage by Model",
    )
    expected: dict[str, dict[str, float]] = {
        **{is_nan(expression_of(title)): {"{}": 1} for title in figures},
        **{expression_of(title): {} for title in graphs},
        expression_of("Invocations"): {"{}": 0},
    }
    check_values(idle, expected, "3600s", tmp_path)


def test_before_the_first_call_there_is_no_traffic(tmp_path: Path) -> None:
    """A sidecar is up, no model is known: NaN, which is told from an outage."""
    expected = {is_nan(expression_of(title)): {"{}": 1.0} for title in OF_MODELS}
    check_values({UP.format("a"): "1x60"}, expected, "300s", tmp_path)


def is_nan(expression: str) -> str:
    """1 where it is: in promtool's tests NaN is not NaN."""
    return f"count(({expression}) != ({expression})) "


def test_in_an_outage_nothing_looks_well(tmp_path: Path) -> None:
    """With its only sidecar gone for 10 minutes the first screens have that it is down, and no figure of the models at
    all; what was counted last stays in the totals."""
    series = {name: f"{values} stale _x120" for name, values in TWO_REPLICAS.items()}
    series |= {UP.format("a"): "1x60 0x121", UP.format("b"): "1x60 0x121"}
    series['sidecar_producers_connected{job="metrics-sidecar", instance="a"}'] = "1x60 stale _x120"
    expected: dict[str, dict[str, float]] = {
        **{expression_of(title): {} for title in (*OF_MODELS, "Sidecars without Gateway", "Missing", "Dropped")},
        expression_of("Sidecars Down"): {"{}": 2},
        expression_of("Total Invocations per Model", range_s=1800): {'{model_id="m"}': 104 * 60},
    }
    check_values(series, expected, "900s", tmp_path)


def test_one_sidecar_of_two_is_down(tmp_path: Path) -> None:
    """It shows, though the other is up."""
    series = {UP.format("a"): "1x60", UP.format("b"): "0x60"}
    check_values(series, {expression_of("Sidecars Down"): {"{}": 1}}, "300s", tmp_path)
    series = dict.fromkeys(series, "1x60")
    check_values(series, {expression_of("Sidecars Down"): {"{}": 0}}, "300s", tmp_path)


def test_one_sidecar_of_two_has_no_gateway(tmp_path: Path) -> None:
    """It shows, though the other has many."""
    workers = 'sidecar_producers_connected{{job="metrics-sidecar", instance="{}"}}'
    series = {workers.format("a"): "8x60", workers.format("b"): "0x60"}
    check_values(series, {expression_of("Sidecars without Gateway"): {"{}": 1}}, "300s", tmp_path)


def test_alerts_are_counted(tmp_path: Path) -> None:
    """Pages and tickets, of this project; 0 only where rules are evaluated."""
    alert = 'ALERTS{{alertname="{}", alertstate="{}", severity="{}"}}'
    pages, tickets = expression_of("Alerts Firing"), expression_of("Alerts Firing", 1)
    firing = {alert.format(n, "firing", "ticket"): "1x60" for n in range(11)}
    firing |= {alert.format(1, "firing", "page"): "1x60", alert.format(1, "pending", "page"): "1x60"}
    firing[alert.format("Watchdog", "firing", "none")] = "1x60"
    check_values(firing, {pages: {"{}": 1}, tickets: {"{}": 11}}, "300s", tmp_path)
    check_values({"rules:evaluation:timestamp_seconds": "0+5x60"}, {pages: {"{}": 0}}, "300s", tmp_path)
    check_values({UP.format("a"): "1x60"}, {pages: {}, tickets: {}}, "300s", tmp_path)


def test_the_worst_model_is_shown(tmp_path: Path) -> None:
    """One that always fails, or takes 9 s, among a hundred that don't."""
    ratio = 'model:model_invocation_failures_per_model_invocations:ratio_rate5m{{model_id="{}"}}'
    p95 = 'model:model_invocation_latency_seconds:p95_rate5m{{model_id="{}"}}'
    series = {ratio.format(n): "0x60" for n in range(99)} | {p95.format(n): "0.1x60" for n in range(99)}
    series |= {UP.format("a"): "1x60", ratio.format("bad"): "1x60", p95.format("bad"): "9x60"}
    expected = {
        expression_of("Worst Success Rate"): {'{model_id="bad"}': 0.0},
        expression_of("Worst 95th Percentile"): {'{model_id="bad"}': 9.0},
    }
    check_values(series, expected, "300s", tmp_path)
    assert expression_of("Worst Success Rate", models=("good",)).count('model_id=~"good"') == 1


def test_counts_are_exact(tmp_path: Path) -> None:
    """A new model from its first call on, a model that stood still, a sidecar that was away when the range began, and
    one whose ledger was replaced."""
    series = {
        MODEL.format("a", "new", "success"): "_x40 50x200",
        MODEL.format("a", "old", "success"): "1000+1x240",
        MODEL.format("a", "still", "success"): "1000x240",
        MODEL.format("b", "away", "success"): "1000x170 stale _x15 1007x60",
        MODEL.format("c", "replaced", "success"): "1000x200 3x40",
    }
    counts = {"new": 50.0, "old": 180.0, "still": 0.0, "away": 7.0, "replaced": 3.0}
    table = expression_of("Models", 2, range_s=900)
    expected = {table: {f'{{model_id="{model}"}}': count for model, count in counts.items() if model != "new"}}
    expected[table]['{model_id="new"}'] = 0.0  # it was there before the range
    check_values(series, expected, "1200s", tmp_path)
    expected = {expression_of("Models", 2, models=("new",), range_s=1100): {'{model_id="new"}': counts["new"]}}
    check_values(series, expected, "1200s", tmp_path)


def test_the_first_error_of_a_type_is_counted(tmp_path: Path) -> None:
    """Its series begins with it."""
    labels = 'job="metrics-sidecar", instance="a", model_id="m", error_type="timeout"'
    series = {f"model_invocation_errors_total{{{labels}}}": "_x30 1x30"}
    found = {'{error_type="timeout", model_id="m"}': 1.0}
    check_values(series, {expression_of("Errors by Model and Type"): found}, "300s", tmp_path)


def test_the_first_drop_is_seen(tmp_path: Path) -> None:
    """Also where the counter appears with it; what was dropped before the time range is not in it."""
    counter = 'invoker_records_dropped_total{{job="metrics-sidecar", instance="{}", reason="journal_full"}}'
    series = {counter.format("new"): "_x80 7x40", counter.format("old"): "5x80 8x40"}
    check_values(series, {expression_of("Dropped"): {"{}": 7 + 3}}, "590s", tmp_path)


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


def test_what_is_out_of_the_ordinary_is_listed(tmp_path: Path) -> None:
    """Each kind that happened in the time range, with its reason and how often; nothing else."""
    counter = '{}{{job="metrics-sidecar", instance="a"{}}}'
    files, refused = ', reason="EMFILE"', ', reason="invalid_json"'
    series = {
        counter.format("invoker_accept_failures_total", files): "5x20 9x40",
        counter.format("sidecar_clock_jumps_total", ', direction="forward"'): "0x20 1x40",
        counter.format("sidecar_commit_failures_total", ""): "3x60",
        counter.format("sidecar_records_unread_total", ', fate="kept"'): "0x20 7x40",
        counter.format("sidecar_records_unread_total", ', fate="dropped"'): "0x60",
        counter.format("invoker_requests_rejected_total", refused): "0+1x60",
    }
    waited = '{instance="a", reason="EMFILE", what="Connections of callers that waited for a file"}'
    kept = '{instance="a", what="Records that the sidecar can\'t read, set aside"}'
    expected = {waited: 4.0, '{instance="a", what="Times that the clock was set"}': 1.0, kept: 7.0}
    check_values(series, {expression_of("Out of the Ordinary", range_s=240): expected}, "300s", tmp_path)
