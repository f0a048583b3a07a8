"""The dashboard "Model Invocation Metrics": what callers got from the models."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import annotations, gateway, links, variables
from deploy.grafana import queries as q
from deploy.grafana.fields import GREEN, RED, Field, fixed_color, red_below, red_from
from deploy.grafana.limits import ERROR_RATE_PERCENT, P95_S
from deploy.grafana.page import Line, Row, make_dashboard
from deploy.grafana.panels import Query, bars, graph, heat, pie, stat_panel
from deploy.grafana.tables import Column, table_panel

UID = "model-invocation-metrics"

INVOCATIONS = q.series("model_invocations_total", q.MODEL)
SUCCESSES = q.series("model_invocations_total", q.MODEL, 'status="success"')
FAILURES = q.series("model_invocations_total", q.MODEL, 'status!="success"')
ERRORS = q.series("model_invocation_errors_total", q.MODEL)
LATENCY = q.series("model_invocation_latency_seconds_bucket", q.MODEL)
ACTIVE = q.series("model_active_invocations", q.MODEL)
TOTAL = q.series("model_total_invocations", q.MODEL)

MODEL_NAME = "{{model_id}}"
COUNT = Field(units.Short, decimals=0)
PER_MINUTE = Field(units.RequestsPerMinute)
SUCCESS_LIMITS = red_below(100 - ERROR_RATE_PERCENT)
SUCCESS_RATE = Field(units.Percent, SUCCESS_LIMITS, decimals=2, max=100, by_limits=True)
ERROR_RATE = Field(units.Percent, red_from(ERROR_RATE_PERCENT), decimals=2, max=100)
LATENCY_LIMITS = red_from(P95_S)

SUCCESS_RATE_BY_MODEL = q.percent(q.increase(SUCCESSES, "model_id"), q.increase(INVOCATIONS, "model_id"))


def make_model_invocation_metrics() -> dashboard.Dashboard:
    return make_dashboard(
        uid=UID,
        title="Model Invocation Metrics",
        description="Invocations of models through the gateway: how many, how well, how fast.",
        variables=[
            variables.data_source(),
            variables.job(),
            variables.instance(),
            variables.model(),
            variables.gateway_url(),
        ],
        # An alert that is about no model shows whatever the model.
        annotations=[annotations.alerts('model_id=~"$model_id|"'), annotations.restarts()],
        links=[
            links.history("History"),
            links.reconcile(),
            links.to_dashboard("Sidecar health", "sidecar-health"),
        ],
        rows=[
            Row("Overview", [Line(4, [*outcome(), *pace()])]),
            Row("Invocations", [Line(9, per_model()), Line(9, course()), Line(9, latency())]),
            Row("Models", [Line(10, [models()])]),
            Row("Errors", [Line(8, errors())]),
            Row("Gateway", [Line(8, gateway.gateway())]),
            Row("Health", [Line(8, gateway.health())]),
        ],
    )


def outcome() -> list[dashboard.Panel]:
    return [
        stat_panel(
            "Invocations",
            "Finished invocations in the time range, whatever their end, as Prometheus reckons them from its scrapes. "
            "Exact, since the beginning: Total Invocations per Model.",
            q.increase(INVOCATIONS),
            COUNT,
            links.of_all(),
        ),
        stat_panel(
            "Success Rate",
            f"Share of successful invocations in the time range. Red below {100 - ERROR_RATE_PERCENT:g} %: an alert "
            "fires when a model stays there for 5 minutes.",
            q.percent(q.increase(SUCCESSES), q.increase(INVOCATIONS)),
            SUCCESS_RATE,
            links.of_all(),
        ),
        stat_panel(
            "Failures",
            "Failed invocations in the time range, of any type.",
            q.increase(FAILURES),
            COUNT,
            links.of_all("failure"),
        ),
    ]


def pace() -> list[dashboard.Panel]:
    return [
        stat_panel(
            "Requests per Minute",
            "Invocations that finished per minute, now.",
            q.per_minute(INVOCATIONS),
            PER_MINUTE,
            links.of_all(),
            now=False,
        ),
        stat_panel(
            "95th Percentile",
            f"95 of 100 invocations of the time range were faster. Red from {P95_S:g} s: an alert fires when a model "
            "stays there for 5 minutes.",
            q.quantile(0.95, LATENCY, window="$__range"),
            Field(units.Seconds, limits=LATENCY_LIMITS, by_limits=True),
            links.of_all(),
        ),
        stat_panel(
            "Active",
            "Invocations that have begun and not ended, now.",
            q.total(ACTIVE),
            COUNT,
            now=False,
        ),
    ]


def per_model() -> list[dashboard.Panel]:
    return [
        bars(
            "Total Invocations per Model",
            f"Invocations since the ledger began, of the {q.TOP} models with most. Click one for its history.",
            Query(q.top(q.total(TOTAL, "model_id")), MODEL_NAME),
            COUNT,
            links.of_series(),
        ),
        bars(
            "Success Rate by Model",
            f"Share of successful invocations in the time range, of the {q.TOP} models with the lowest. Red below "
            f"{100 - ERROR_RATE_PERCENT:g} %.",
            Query(q.bottom(SUCCESS_RATE_BY_MODEL), MODEL_NAME),
            SUCCESS_RATE,
            links.of_series("failure"),
        ),
        success_or_failure(),
    ]


def success_or_failure() -> dashboard.Panel:
    made = pie(
        "Success vs Failure Pie Chart",
        "Successful and failed invocations of the chosen models in the time range.",
        Query(q.increase(INVOCATIONS, "status"), "{{status}}"),
        COUNT,
        [links.history("History: ${__field.labels.status}", status="${__field.labels.status}")],
    )
    assert made.field_config is not None
    made.field_config.overrides = [fixed_color("success", GREEN), fixed_color("failure", RED)]
    return made


def course() -> list[dashboard.Panel]:
    return [
        graph(
            "Invocation Rate",
            f"Invocations that finished per minute, of the {q.TOP} busiest models.",
            [Query(q.top(q.per_minute(INVOCATIONS, "model_id")), MODEL_NAME)],
            PER_MINUTE,
            links.of_series(),
        ),
        graph(
            "Error Rate Over Time",
            f"Share of failed invocations, of the {q.TOP} models with the highest. The line is at "
            f"{ERROR_RATE_PERCENT:g} %, where an alert fires after 5 minutes.",
            [Query(q.top(q.percent(q.rate(FAILURES, "model_id"), q.rate(INVOCATIONS, "model_id"))), MODEL_NAME)],
            ERROR_RATE,
            links.of_series("failure"),
        ),
        graph(
            "Active Invocations",
            f"Invocations that have begun and not ended, of the {q.TOP} models with most.",
            [Query(q.top(q.total(ACTIVE, "model_id")), MODEL_NAME)],
            COUNT,
            links.of_series(),
        ),
    ]


def latency() -> list[dashboard.Panel]:
    return [
        graph(
            "Response Time Percentiles",
            f"50, 95 and 99 of 100 invocations of the chosen models were faster. The line is at {P95_S:g} s, where an "
            "alert on a model's 95th percentile fires after 5 minutes. A dot is one invocation and leads to its trace.",
            [Query(q.quantile(share / 100, LATENCY), f"p{share}", exemplars=share == 95) for share in (50, 95, 99)],
            Field(units.Seconds, limits=LATENCY_LIMITS),
            links.of_all(),
        ),
        heat(
            "Latency Distribution",
            "How many invocations took how long. A dot is one invocation, and leads to its trace.",
            Query(f"sum by (le) (increase({LATENCY}[$__rate_interval]))", "{{le}}", exemplars=True),
            Field(units.Seconds),
            links.of_all(),
        ),
    ]


def models() -> dashboard.Panel:
    by = "model_id"
    latencies = [
        Column(f"p{share}", q.quantile(share / 100, LATENCY, by, "$__range"), units.Seconds, limits=LATENCY_LIMITS)
        for share in (50, 95, 99)
    ]
    return table_panel(
        "Models",
        "Each model in the time range; `Total` is since the ledger began. Red where an alert's limit is passed. A name "
        "leads to its history.",
        "model_id",
        "Model",
        [
            Column("Invocations", q.increase(INVOCATIONS, by), units.Short, 0),
            Column("Failures", q.increase(FAILURES, by), units.Short, 0),
            Column("Success rate", SUCCESS_RATE_BY_MODEL, units.Percent, 2, SUCCESS_LIMITS),
            *latencies,
            Column("Per minute", q.per_minute(INVOCATIONS, by), units.RequestsPerMinute, 1),
            Column("Active", q.total(ACTIVE, by), units.Short, 0),
            Column("Total", q.total(TOTAL, by), units.Short, 0),
        ],
        [
            links.history("History: invocations of ${__value.raw}", links.MODEL_OF_CELL),
            links.history("History: failures of ${__value.raw}", links.MODEL_OF_CELL, "failure"),
        ],
    )


def errors() -> list[dashboard.Panel]:
    return [
        graph(
            "Errors by Type",
            "Failed invocations per minute by what went wrong; the types are explained in the README.",
            [Query(q.per_minute(ERRORS, "error_type"), "{{error_type}}")],
            Field(units.RequestsPerMinute, no_value="No failures"),
            links.of_all("failure"),
            stacked=True,
        ),
        bars(
            "Errors by Model and Type",
            f"Failed invocations in the time range: the {q.TOP} most frequent kinds.",
            Query(q.top(f"{q.increase(ERRORS, 'model_id, error_type')} > 0"), "{{model_id}}: {{error_type}}"),
            Field(units.Short, decimals=0, no_value="No failures"),
            links.of_series("failure"),
        ),
    ]
