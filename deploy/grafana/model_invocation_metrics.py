"""The dashboard "Model Invocation Metrics": what callers got from the models."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import annotations, gateway, links, overview, streams, upstreams, variables
from deploy.grafana import queries as q
from deploy.grafana.fields import COUNT, GREEN, NONE_SEEN, ORANGE, RED, Field, Limits, fixed_color, red_from
from deploy.grafana.limits import BURN_RATE_1H, BURN_RATE_6H, ERROR_BUDGET, ERROR_RATE_PERCENT, P95_S
from deploy.grafana.overview import LATENCY_LIMITS, SUCCESS_RATE
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
PER_MINUTE = Field(units.RequestsPerMinute, no_value=NONE_SEEN)
SUCCESS_RATE_BY_MODEL = q.percent_of_called(q.count(SUCCESSES, "model_id"), q.count(INVOCATIONS, "model_id"))
RATE_OF_ERRORS = q.percent_of_called(q.rate(FAILURES, "model_id"), q.rate(INVOCATIONS, "model_id"))
ERROR_RATE_BY_MODEL = q.percent_of_called(q.count(FAILURES, "model_id"), q.count(INVOCATIONS, "model_id"))
ERROR_RATE_LIMITS = red_from(ERROR_RATE_PERCENT)
ERROR_RATE = Field(units.Percent, ERROR_RATE_LIMITS, decimals=2, no_value=NONE_SEEN)
BURN_RATE_LIMITS = Limits(GREEN, ((BURN_RATE_6H, ORANGE), (BURN_RATE_1H, RED)))
SECONDS = Field(units.Seconds, LATENCY_LIMITS, no_value=NONE_SEEN)

# An alert or a restart that is about no model shows whatever the model.
OF_MODELS = 'model_id=~"$model_id|"'


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
        annotations=[annotations.pages(OF_MODELS), annotations.restarts()],
        links=[
            links.history("History"),
            links.reconcile(),
            links.to_dashboard("Sidecar health", "sidecar-health"),
        ],
        rows=[
            Row("Overview", [Line(4, now()), Line(4, in_range())]),
            Row(
                "What needs a look",
                [Line(8, [overview.firing_alerts(OF_MODELS)]), Line(10, [models()])],
            ),
            Row("Invocations", [Line(9, per_model()), Line(9, course()), Line(9, latency())]),
            Row("Errors", [Line(8, errors())]),
            Row(
                "Streams and tokens",
                [Line(4, streams.figures()), Line(9, streams.first_tokens()), Line(9, streams.tokens_and_cost())],
            ),
            Row(
                "Upstreams",
                [
                    Line(4, upstreams.figures()),
                    Line(9, upstreams.health()),
                    Line(9, upstreams.load()),
                    Line(8, upstreams.limits()),
                ],
            ),
            Row("Gateway", [Line(8, gateway.gateway())]),
            Row("Health", [Line(8, gateway.health())]),
        ],
    )


def now() -> list[dashboard.Panel]:
    return [
        overview.alerts(OF_MODELS),
        overview.sidecars_down(),
        overview.worst_success(),
        overview.worst_p95(),
        stat_panel(
            "Requests per Minute",
            "Invocations that finished per minute, now.",
            q.told(q.per_minute(INVOCATIONS)),
            Field(units.RequestsPerMinute),
            links.of_all(),
        ),
        stat_panel("Active", "Invocations that have begun and not ended, now.", q.told(q.total(ACTIVE)), COUNT),
    ]


def in_range() -> list[dashboard.Panel]:
    return [
        stat_panel(
            "Invocations",
            "Finished invocations in the time range, whatever their end, to the last one that was scraped.",
            q.told(q.count(INVOCATIONS)),
            COUNT,
            links.of_all(),
        ),
        stat_panel(
            "Failures",
            "Failed invocations in the time range, of any type.",
            q.told(q.count(FAILURES)),
            COUNT,
            links.of_all("failure"),
        ),
        stat_panel(
            "Success Rate",
            "Share of successful invocations in the time range, of all models together: one that always fails may hide "
            "in it, and shows in the worst success rate.",
            q.told(q.percent(q.count(SUCCESSES), q.count(INVOCATIONS))),
            SUCCESS_RATE,
            links.of_all(),
        ),
        stat_panel(
            "95th Percentile",
            "95 of 100 invocations of the time range were faster, of all models together. Between two bounds of the "
            "histogram it is an estimate.",
            q.told(q.quantile(0.95, LATENCY, window="$__range")),
            Field(units.Seconds, LATENCY_LIMITS),
            links.of_all(),
        ),
    ]


def per_model() -> list[dashboard.Panel]:
    return [
        bars(
            "Total Invocations per Model",
            f"Invocations since the ledger began, of the {q.TOP} models with most, as told last. Click one for its "
            "history.",
            Query(q.or_idle(q.top(q.last(TOTAL, "model_id"))), MODEL_NAME),
            COUNT,
            links.of_series(),
        ),
        bars(
            "Success Rate by Model",
            f"Share of successful invocations in the time range, of the {q.TOP} models with the lowest. Red below "
            f"{100 - ERROR_RATE_PERCENT:g} %.",
            Query(q.told(q.bottom(SUCCESS_RATE_BY_MODEL)), MODEL_NAME),
            SUCCESS_RATE,
            links.of_series("failure"),
            by_limits=True,
        ),
        success_or_failure(),
    ]


def success_or_failure() -> dashboard.Panel:
    made = pie(
        "Success vs Failure Pie Chart",
        "Successful and failed invocations of the chosen models in the time range.",
        Query(q.count(INVOCATIONS, "status"), "{{status}}"),
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
            [Query(q.top(RATE_OF_ERRORS), MODEL_NAME)],
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
            SECONDS,
            links.of_all(),
        ),
        graph(
            "95th Percentile by Model",
            f"95 of 100 invocations were faster, of the {q.TOP} slowest models. The line is at {P95_S:g} s, where an "
            "alert fires after 5 minutes.",
            [Query(q.top(q.quantile(0.95, LATENCY, "model_id")), MODEL_NAME)],
            SECONDS,
            links.of_series(),
        ),
        heat(
            "Latency Distribution",
            "How many invocations took how long. A dot is one invocation, and leads to its trace.",
            Query(f"sum by (le) (increase({LATENCY}[$__rate_interval]))", "{{le}}", exemplars=True),
            Field(units.Seconds, no_value=NONE_SEEN),
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
        "Each model in the time range, the worst first; `Total` is since the ledger began. Red where an alert's limit "
        "is passed. A name leads to its history.",
        "model_id",
        "Model",
        [
            Column("Error rate", ERROR_RATE_BY_MODEL, units.Percent, 2, ERROR_RATE_LIMITS),
            Column("Failures", q.count(FAILURES, by), units.LocaleFormat, 0),
            Column("Invocations", q.count(INVOCATIONS, by), units.LocaleFormat, 0),
            *latencies,
            Column("Per minute", q.per_minute(INVOCATIONS, by), units.RequestsPerMinute, 1),
            Column("Active", q.total(ACTIVE, by), units.LocaleFormat, 0),
            Column("Total", q.last(TOTAL, by), units.LocaleFormat, 0),
        ],
        [
            links.history("History: invocations of ${__value.raw}", model_id=links.MODEL_OF_CELL),
            links.history("History: failures of ${__value.raw}", model_id=links.MODEL_OF_CELL, status="failure"),
        ],
        worst_by="Error rate",
    )


def errors() -> list[dashboard.Panel]:
    burn = "model:model_invocation_failures_per_model_invocations:ratio_rate"
    return [
        graph(
            "Error Budget Burn Rate",
            f"How many times faster than allowed (1 spends {100 * ERROR_BUDGET:g} % in just 30 days) over the last "
            f"hour and 6 hours, of the {q.TOP} worst models, over all replicas. A page fires where 1 h is over "
            f"{BURN_RATE_1H:g}, or 6 h over {BURN_RATE_6H:g}, and it goes on.",
            [
                Query(q.top(f"{q.series(burn + window, overview.CHOSEN)} / {ERROR_BUDGET}"), f"{MODEL_NAME}, {hours}")
                for window, hours in (("1h", "1 h"), ("6h", "6 h"))
            ],
            Field(units.NoUnit, BURN_RATE_LIMITS, decimals=1, no_value=NONE_SEEN),
            links.of_series("failure"),
        ),
        graph(
            "Errors by Type",
            "Failed invocations per minute by what went wrong; the types are explained in docs/gateway.md.",
            [Query(q.per_minute(ERRORS, "error_type"), "{{error_type}}")],
            Field(units.RequestsPerMinute, no_value="No failures reported"),
            links.of_errors(),
            stacked=True,
        ),
        bars(
            "Errors by Model and Type",
            f"Failed invocations in the time range: the {q.TOP} most frequent kinds.",
            Query(q.top(f"{q.count(ERRORS, 'model_id, error_type')} > 0"), "{{model_id}}: {{error_type}}"),
            Field(units.LocaleFormat, decimals=0, no_value="No failures reported"),
            links.of_errors(links.MODEL_OF_SERIES),
        ),
    ]
