"""The row "Upstreams": what its panels show of two replicas, and while there is nothing to show."""

from pathlib import Path

from tests.deploy.grafana.promtool import check_values
from tests.deploy.grafana.test_expressions import MODEL, UP, expression_of, is_nan


def series(name: str, instance: str, **labels: str) -> str:
    pairs = "".join(f', {label}="{value}"' for label, value in labels.items())
    return f'{name}{{job="metrics-sidecar", instance="{instance}"{pairs}}}'


def attempts(instance: str, upstream: str, outcome: str) -> str:
    return series("invoker_upstream_attempts_total", instance, upstream=upstream, outcome=outcome)


def heads(instance: str, upstream: str, le: str) -> str:
    return series("invoker_upstream_latency_seconds_bucket", instance, upstream=upstream, le=le)


# Per 5 s: of 100 attempts 92 succeed, 5 find nobody at u, 2 have no room at v, and one's caller leaves.
TWO_REPLICAS = {
    UP.format("a"): "1x60",
    UP.format("b"): "1x60",
    attempts("a", "u", "success"): "0+90x60",
    attempts("b", "u", "success"): "0+2x60",
    attempts("a", "u", "connect"): "0+5x60",
    attempts("b", "v", "busy"): "0+2x60",
    attempts("a", "v", "client_disconnected"): "0+1x60",
    attempts("a", "v", "timeout"): "0x60",
    series("invoker_upstream_healthy", "a", upstream="u"): "0.5x60",
    series("invoker_upstream_healthy", "b", upstream="u"): "1x60",
    series("invoker_upstream_healthy", "b", upstream="v"): "1x60",
    series("invoker_upstream_outstanding", "a", upstream="u"): "3x60",
    series("invoker_upstream_outstanding", "b", upstream="u"): "4x60",
    heads("a", "u", "0.1"): "0+90x60",
    heads("a", "u", "5.0"): "0+100x60",
    heads("a", "u", "+Inf"): "0+100x60",
    series("invoker_retries_total", "a", reason="connect"): "0+5x60",
    series("invoker_retries_total", "b", reason="busy"): "0+1x60",
    series("invoker_retries_denied_total", "b", reason="busy"): "0+1x60",
    series("invoker_upstream_ejections_total", "a", upstream="u"): "0+1x60",
    MODEL.format("a", "m", "success"): "0+80x60",
    MODEL.format("b", "n", "success"): "0+20x60",
    series("model_fallbacks_total", "a", model_id="m"): "0+25x60",
    series("invoker_limit_in_flight", "a", limit="m"): "3x60",
    series("invoker_limit_max_in_flight", "a", limit="m"): "4x60",
    series("invoker_queue_length", "a", limit="m"): "7x60",
    series("invoker_limited_total", "a", limit="m", reason="queue_full"): "0+2x60",
    series("invoker_limited_total", "a", limit="m", reason="limit"): "0x60",
    series("invoker_config_last_reload_successful", "a"): "0x60",
    series("invoker_config_last_reload_successful", "b"): "1x60",
}


def test_what_upstreams_came_to_at_both(tmp_path: Path) -> None:
    """Counters are added up, then divided; of health, the worse replica's shows."""
    expected: dict[str, dict[str, float]] = {
        expression_of("Upstreams Out"): {"{}": 1},
        expression_of("Failed Attempts"): {"{}": 7},
        expression_of("Tried Again"): {"{}": 6 * 60},
        expression_of("Served by Other Models"): {"{}": 20},
        expression_of("Waiting for Room"): {"{}": 7},
        expression_of("Models Files Refused"): {"{}": 1},
        expression_of("Upstream Health"): {'{upstream="u"}': 0.5, '{upstream="v"}': 1},
        expression_of("Attempts by Outcome"): {
            '{outcome="success"}': 92 * 12,
            '{outcome="connect"}': 60,
            '{outcome="busy"}': 24,
            '{outcome="client_disconnected"}': 12,
        },
        expression_of("Failed Attempts by Upstream"): {
            '{outcome="connect", upstream="u"}': 300,
            '{outcome="busy", upstream="v"}': 120,
        },
        expression_of("Time to Answer by Upstream"): {'{upstream="u"}': 0.1 + 4.9 * 0.5},
        expression_of("Outstanding Calls by Upstream"): {'{upstream="u"}': 7},
        expression_of("Retries and Ejections"): {'{reason="connect"}': 60, '{reason="busy"}': 12},
        expression_of("Retries and Ejections", 1): {"{}": 12},
        expression_of("Retries and Ejections", 2): {"{}": 12},
        expression_of("Served by Other Models, by Model"): {'{model_id="m"}': 300},
        expression_of("Queues"): {'{limit="m"}': 7},
        expression_of("Limits"): {'{limit="m"}': 0.75},
        expression_of("Refused by Limits"): {'{limit="m", reason="queue_full"}': 24},
    }
    check_values(TWO_REPLICAS, expected, "300s", tmp_path)


def test_without_any_of_it(tmp_path: Path) -> None:
    """A gateway without calls, limits and other models: none of it is 0 % of nothing, and all upstreams are in."""
    idle = {
        UP.format("a"): "1x60",
        series("invoker_upstream_healthy", "a", upstream="u"): "1x60",
        attempts("a", "u", "success"): "5x60",
        MODEL.format("a", "m", "success"): "5x60",
        series("invoker_config_last_reload_successful", "a"): "1x60",
    }
    expected: dict[str, dict[str, float]] = {
        expression_of("Upstreams Out"): {"{}": 0},
        expression_of("Models Files Refused"): {"{}": 0},
        is_nan(expression_of("Failed Attempts")): {"{}": 1},
        is_nan(expression_of("Served by Other Models")): {"{}": 1},
        is_nan(expression_of("Waiting for Room")): {"{}": 1},
        expression_of("Failed Attempts by Upstream"): {},
        expression_of("Refused by Limits"): {},
    }
    check_values(idle, expected, "300s", tmp_path)
    called = {**idle, MODEL.format("a", "m", "success"): "0+5x60"}
    check_values(called, {expression_of("Served by Other Models"): {"{}": 0}}, "300s", tmp_path)


def test_in_an_outage_no_upstream_looks_well(tmp_path: Path) -> None:
    """What was in before says nothing of now."""
    gone = {name: f"{values} stale _x120" for name, values in TWO_REPLICAS.items()}
    gone |= {UP.format("a"): "1x60 0x121", UP.format("b"): "1x60 0x121"}
    titles = ("Upstreams Out", "Failed Attempts", "Served by Other Models", "Waiting for Room", "Models Files Refused")
    check_values(gone, {expression_of(title): {} for title in titles}, "900s", tmp_path)
