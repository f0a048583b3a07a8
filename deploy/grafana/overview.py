"""What both dashboards begin with: figures that can't look well while something is wrong."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import links
from deploy.grafana import queries as q
from deploy.grafana.fields import GREEN, NONE_IS_GOOD, ORANGE, RED, Field, Limits, override, red_below, red_from
from deploy.grafana.limits import ERROR_RATE_PERCENT, P95_S
from deploy.grafana.panels import Query, stat_panel
from deploy.grafana.tables import list_panel

LATENCY_LIMITS = red_from(P95_S)
SUCCESS_LIMITS = red_below(100 - ERROR_RATE_PERCENT)
SUCCESS_RATE = Field(units.Percent, SUCCESS_LIMITS, decimals=2, max=100)

CHOSEN = 'model_id=~"$model_id"'
FAILING = q.series("model:model_invocation_failures_per_model_invocations:ratio_rate5m", CHOSEN)
P95 = q.series("model:model_invocation_latency_seconds:p95_rate5m", CHOSEN)


def alerts(matchers: str = "") -> dashboard.Panel:
    """0 only where Prometheus evaluates the rules: without them no alert can fire."""
    evaluated = "0 * rules:evaluation:timestamp_seconds"
    made = stat_panel(
        "Alerts Firing",
        "Pages need someone now, tickets someone today; the list below names them.",
        [Query(f"count({q.firing(kind, matchers)}) or {evaluated}", f"{kind}s") for kind in ("page", "ticket")],
        Field(units.LocaleFormat, NONE_IS_GOOD, decimals=0, no_value="No rules"),
    )
    assert made.field_config is not None
    made.field_config.overrides = [override("tickets", thresholds=Limits(GREEN, ((1, ORANGE),)).thresholds())]
    return made


def firing_alerts(matchers: str = "") -> dashboard.Panel:
    """Pages first."""
    return list_panel(
        "Firing Alerts",
        "What to do about each: deploy/RUNBOOK.md.",
        q.firing("page|ticket", matchers),
        {"severity": "Severity", "alertname": "Alert", "model_id": "Model", "instance": "Instance", "reason": "Reason"},
        {"page": RED, "ticket": ORANGE},
        "None firing",
    )


def sidecars_down() -> dashboard.Panel:
    up = q.series("up")
    return stat_panel(
        "Sidecars Down",
        "Sidecars that Prometheus knows and can't scrape. While one is down, its models' figures stand still, whatever "
        "happens to their callers.",
        f"count({up} == 0) or 0 * count({up})",
        Field(units.LocaleFormat, NONE_IS_GOOD, decimals=0, no_value="None known"),
        [links.to_dashboard("Sidecar health", "sidecar-health")],
    )


def worst_success() -> dashboard.Panel:
    return stat_panel(
        "Worst Success Rate",
        "Of the model with the lowest, over the last 5 minutes and all replicas, as the alert sees it. Red below "
        f"{100 - ERROR_RATE_PERCENT:g} %, where the alert fires after 5 minutes.",
        [Query(q.told(f"bottomk(1, 100 - 100 * {FAILING})"), "{{model_id}}")],
        SUCCESS_RATE,
        links.of_series("failure"),
    )


def worst_p95() -> dashboard.Panel:
    return stat_panel(
        "Worst 95th Percentile",
        f"Of the slowest model, over the last 5 minutes and all replicas, as the alert sees it. Red over {P95_S:g} s, "
        "where the alert fires after 5 minutes.",
        [Query(q.told(f"topk(1, {P95} >= 0)"), "{{model_id}}")],
        Field(units.Seconds, LATENCY_LIMITS),
        links.of_series(),
    )
