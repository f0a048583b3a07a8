"""The row "Streams and tokens" of "Model Invocation Metrics": how soon streams begin, what they use, what it costs."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import links
from deploy.grafana import queries as q
from deploy.grafana.fields import DOLLARS, NO_COST, NO_TOKENS, NONE_SEEN, Field, red_from
from deploy.grafana.limits import FIRST_TOKEN_P95_S, USAGE_MISSING_PERCENT
from deploy.grafana.panels import Query, bars, graph, stat_panel

FIRST_TOKEN = q.series("model_time_to_first_token_seconds_bucket", q.MODEL)
PER_TOKEN = q.series("model_time_per_output_token_seconds_bucket", q.MODEL)
TOKENS = q.series("model_tokens_total", q.MODEL)
OUTPUT = q.series("model_tokens_total", q.MODEL, 'type="output"')
COST = q.series("model_cost_usd_total", q.MODEL)
MISSING = q.series("model_usage_missing_total", q.MODEL)
SUCCESSES = q.series("model_invocations_total", q.MODEL, 'status="success"')

MODEL_NAME = "{{model_id}}"
FEW = 10
"""Models in a panel on cost."""

FIRST_TOKEN_LIMITS = red_from(FIRST_TOKEN_P95_S)
NO_STREAMS = "No streams reported"


def figures() -> list[dashboard.Panel]:
    return [
        _cost("Cost Today", "since midnight", "now/d"),
        _cost("Cost This Month", "since the month began", "now/M"),
        _cost("Cost in the Last Hour", "in the last hour", "1h"),
        stat_panel(
            "95th Percentile to First Token",
            "From a call to its first output: 95 of 100 streams of the time range began sooner, all models together.",
            q.told(q.quantile(0.95, FIRST_TOKEN, window="$__range")),
            Field(units.Seconds, FIRST_TOKEN_LIMITS, idle=NO_TOKENS),
            links.of_all(),
        ),
        stat_panel(
            "Output Tokens per Second",
            "Of calls that ended, as the models reported them, now.",
            q.told(q.rate(OUTPUT)),
            Field(units.LocaleFormat, decimals=1, idle=NO_TOKENS),
            links.of_all(),
        ),
        stat_panel(
            "Without Usage",
            "Share of the successful calls of the time range that should have told their tokens and didn't: they are "
            f"in no figure of tokens and cost. An alert fires where a model's is over {USAGE_MISSING_PERCENT:g} %.",
            q.told(q.percent(q.count(MISSING), q.count(SUCCESSES))),
            Field(units.Percent, red_from(USAGE_MISSING_PERCENT), decimals=2),
            links.of_all(),
        ),
    ]


def _cost(title: str, when: str, since: str) -> dashboard.Panel:
    """Exact to the last call that was scraped."""
    return stat_panel(
        title,
        f"US dollars that the chosen models have cost {when}, by the prices that they had at each call. Calls without "
        "usage or without a price are not in it.",
        q.told(q.count(COST)),
        Field(DOLLARS, decimals=2, idle=NO_COST),
        since=since,
    )


def first_tokens() -> list[dashboard.Panel]:
    seconds = Field(units.Seconds, FIRST_TOKEN_LIMITS, no_value=NO_STREAMS)
    return [
        graph(
            "Time to First Token",
            "From a call to the first output of its stream: 50, 95 and 99 of 100 streams of the chosen models began "
            f"sooner. The line is at {FIRST_TOKEN_P95_S:g} s, where an alert on a model's 95th percentile fires after "
            "5 minutes.",
            [Query(q.quantile(share / 100, FIRST_TOKEN), f"p{share}") for share in (50, 95, 99)],
            seconds,
            links.of_all(),
        ),
        graph(
            "Time to First Token by Model",
            f"95 of 100 streams began sooner, of the {q.TOP} slowest models. The line is at {FIRST_TOKEN_P95_S:g} s, "
            "where an alert fires after 5 minutes.",
            [Query(q.top(q.quantile(0.95, FIRST_TOKEN, "model_id")), MODEL_NAME)],
            seconds,
            links.of_series(),
        ),
        graph(
            "Time per Output Token",
            "From the first output of a stream to its last, per token after the first: 50, 95 and 99 of 100 streams of "
            "the chosen models were faster.",
            [Query(q.quantile(share / 100, PER_TOKEN), f"p{share}") for share in (50, 95, 99)],
            Field(units.Seconds, no_value=NO_STREAMS),
            links.of_all(),
        ),
    ]


def tokens_and_cost() -> list[dashboard.Panel]:
    return [
        graph(
            "Tokens per Second",
            "Of calls that ended, as the models reported them. cached_input is part of input, reasoning of output.",
            [Query(q.rate(TOKENS, "type"), "{{type}}")],
            Field(units.LocaleFormat, no_value=NONE_SEEN),
        ),
        graph(
            "Cost per Hour",
            f"US dollars per hour, of all chosen models and of the {FEW} dearest. An alert fires where a model costs "
            "far more than in the dearest hours of its own week.",
            [
                Query(q.per_hour(COST), "all models"),
                Query(q.top(q.per_hour(COST, "model_id"), FEW), MODEL_NAME),
            ],
            Field(units.Dollars, no_value="No cost reported"),
            links.of_all(),
        ),
        bars(
            "Cost by Model",
            f"US dollars in the time range, of the {FEW} dearest models.",
            Query(q.top(f"{q.count(COST, 'model_id')} > 0", FEW), MODEL_NAME),
            Field(units.Dollars, no_value="No cost reported"),
            links.of_series(),
        ),
        bars(
            "Without Usage by Model",
            f"Successful calls of the time range that told no tokens, of the {FEW} models with most.",
            Query(q.top(f"{q.count(MISSING, 'model_id')} > 0", FEW), MODEL_NAME),
            Field(units.LocaleFormat, decimals=0, no_value="None reported"),
            links.of_series(),
        ),
    ]
