"""The row "Upstreams" of "Model Invocation Metrics": where calls went, what was tried again, what waits for room."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import links
from deploy.grafana import queries as q
from deploy.grafana.fields import COUNT, GREEN, ORANGE, Field, Limits, red_from
from deploy.grafana.limits import FALLBACK_PERCENT
from deploy.grafana.panels import Query, bars, graph, stat_panel

HEALTHY = q.series("invoker_upstream_healthy")
OUTSTANDING = q.series("invoker_upstream_outstanding")
ATTEMPTS = q.series("invoker_upstream_attempts_total")
FAILED = q.series("invoker_upstream_attempts_total", q.PAIR, 'outcome!~"success|client_disconnected|draining"')
LATENCY = q.series("invoker_upstream_latency_seconds_bucket")
EJECTIONS = q.series("invoker_upstream_ejections_total")
RETRIES = q.series("invoker_retries_total")
DENIED = q.series("invoker_retries_denied_total")
FALLBACKS = q.series("model_fallbacks_total", q.MODEL)
INVOCATIONS = q.series("model_invocations_total", q.MODEL)
LIMITED = q.series("invoker_limited_total")
WAITING = q.series("invoker_queue_length")
IN_FLIGHT = q.series("invoker_limit_in_flight")
MOST = q.series("invoker_limit_max_in_flight")
REFUSED_FILES = q.series("invoker_config_last_reload_successful")

UPSTREAM, LIMIT, MODEL_NAME = "{{upstream}}", "{{limit}}", "{{model_id}}"
NO_ATTEMPTS, NO_LIMITS = "No attempts reported", "No limits reported"
OUT = Limits(GREEN, ((1, ORANGE),))


def figures() -> list[dashboard.Panel]:
    by_others = f"({q.count(FALLBACKS)} or 0 * {q.total(INVOCATIONS)})"
    return [
        stat_panel(
            "Upstreams Out",
            "Model servers that get no calls now, at some worker or model of any replica at least: an alert fires "
            "after 5 minutes.",
            q.told(f"count({HEALTHY} < 1) or 0 * count({HEALTHY})"),
            Field(units.LocaleFormat, OUT, decimals=0, idle="None known"),
        ),
        stat_panel(
            "Failed Attempts",
            "Share of the attempts of the time range that the upstream failed, or had no room for, those that were "
            "tried again included.",
            q.told(q.percent_of_called(q.count(FAILED), q.count(ATTEMPTS))),
            Field(units.Percent, decimals=2),
        ),
        stat_panel(
            "Tried Again",
            "Further attempts of calls in the time range.",
            q.told(q.count(RETRIES)),
            Field(units.LocaleFormat, decimals=0),
        ),
        stat_panel(
            "Served by Other Models",
            "Share of the calls of the time range that another model served in place of the one that was asked for. An "
            f"alert fires where a model's is over {FALLBACK_PERCENT:g} %.",
            q.told(q.percent_of_called(by_others, f"({q.count(INVOCATIONS)} + {by_others})")),
            Field(units.Percent, red_from(FALLBACK_PERCENT), decimals=2),
            links.of_all(),
        ),
        stat_panel(
            "Waiting for Room",
            "Calls in the queues of limits, now.",
            q.told(q.total(WAITING)),
            Field(units.LocaleFormat, decimals=0, idle="No queues"),
        ),
        stat_panel(
            "Models Files Refused",
            "Gateways whose models file, as it is now, can't be used: they go by the one before.",
            q.told(f"count({REFUSED_FILES} == 0) or 0 * count({REFUSED_FILES})"),
            Field(units.LocaleFormat, OUT, decimals=0),
        ),
    ]


def health() -> list[dashboard.Panel]:
    return [
        graph(
            "Upstream Health",
            "Which part of a model server gets calls, over the workers and models of the replica where it is least: "
            f"100 % is all of it, 0 % none. The {q.TOP} with the least.",
            [Query(q.bottom(f"min by (upstream) ({HEALTHY})"), UPSTREAM)],
            Field(units.PercentUnit, max=1, no_value="No upstreams reported"),
            low_is_worse=True,
        ),
        graph(
            "Attempts by Outcome",
            "Attempts per minute, by how they ended. A call that was tried again is several of them.",
            [Query(f"{q.per_minute(ATTEMPTS, 'outcome')} > 0", "{{outcome}}")],
            Field(units.RequestsPerMinute, no_value=NO_ATTEMPTS),
            stacked=True,
        ),
        bars(
            "Failed Attempts by Upstream",
            f"Attempts of the time range that it failed, or had no room for: the {q.TOP} most frequent kinds.",
            Query(q.top(f"{q.count(FAILED, 'upstream, outcome')} > 0"), "{{upstream}}: {{outcome}}"),
            Field(units.LocaleFormat, decimals=0, no_value="No failures reported"),
            [],
        ),
    ]


def load() -> list[dashboard.Panel]:
    return [
        graph(
            "Time to Answer by Upstream",
            f"From an attempt to the head of its answer: 95 of 100 were sooner, of the {q.TOP} slowest model servers.",
            [Query(q.top(q.quantile(0.95, LATENCY, "upstream")), UPSTREAM)],
            Field(units.Seconds, no_value=NO_ATTEMPTS),
        ),
        graph(
            "Outstanding Calls by Upstream",
            f"Calls that a model server has now, of the {q.TOP} with most.",
            [Query(q.top(q.total(OUTSTANDING, "upstream")), UPSTREAM)],
            COUNT,
        ),
        graph(
            "Retries and Ejections",
            "Per minute: further attempts by why they were made, those that were not for want of retry budget, and "
            "times that a worker left an upstream out, or for longer.",
            [
                Query(q.per_minute(RETRIES, "reason"), "tried again: {{reason}}"),
                Query(q.per_minute(DENIED), "no budget"),
                Query(q.per_minute(EJECTIONS), "left out"),
            ],
            Field(units.CountsPerMinute),
        ),
        graph(
            "Served by Other Models, by Model",
            f"Calls per minute that another model served, by the one that was asked for: the {q.TOP} with most.",
            [Query(q.top(f"{q.per_minute(FALLBACKS, 'model_id')} > 0"), MODEL_NAME)],
            Field(units.RequestsPerMinute, no_value="None reported"),
            links.of_series(),
        ),
    ]


def limits() -> list[dashboard.Panel]:
    return [
        graph(
            "Queues",
            f"Calls that wait for room, of the {q.TOP} limits with most.",
            [Query(q.top(q.total(WAITING, "limit")), LIMIT)],
            Field(units.LocaleFormat, decimals=0, no_value="No queues reported"),
        ),
        graph(
            "Limits",
            f"Which part of a limit is taken, of the {q.TOP} with most. At 100 % calls wait, or are refused.",
            [Query(q.top(f"{q.total(IN_FLIGHT, 'limit')} / {q.total(MOST, 'limit')}"), LIMIT)],
            Field(units.PercentUnit, no_value=NO_LIMITS),
        ),
        graph(
            "Refused by Limits",
            "Calls per minute that were answered 429, by why. An alert fires for full queues after 5 minutes.",
            [Query(f"{q.per_minute(LIMITED, 'limit, reason')} > 0", "{{limit}}: {{reason}}")],
            Field(units.RequestsPerMinute, no_value="None reported"),
            stacked=True,
        ),
    ]
