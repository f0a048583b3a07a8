"""`GET /metrics/timeseries`: one figure per step of time."""

from collections.abc import Sequence
from operator import add
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import json_answer_of, store_problems
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.aggregate import ALL, LATENCY, Ask, Measure, Table
from metrics_sidecar.history.shown import NANO
from metrics_sidecar.history.windows import HOUR, MAX_WINDOW_US, MINUTE_US, Window, align, parse_duration, window_before
from metrics_sidecar.ledger.usage import FIRST_TOKEN, PER_TOKEN, QUEUE, USAGE_MISSING
from metrics_sidecar.parameters.decoding import allowed_values, decode_query
from metrics_sidecar.parameters.filters import split_models
from metrics_sidecar.parameters.window import DURATION_PATTERN, WindowParameters, remedy_for, to_window
from shared.clock import format_timestamp
from shared.problems import InvalidParameterError
from shared.record import MAX_TIMESTAMP_US

DEFAULT_US = HOUR * MINUTE_US
MINUTE_S = 60
MAX_POINTS = 11_000
"""Of all series of an answer together; Prometheus allows as many in one."""

Metric = Literal[
    "invocations",
    "errors",
    "error_rate",
    "requests_per_second",
    "active",
    "latency_avg",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "tokens_per_second",
    "input_tokens_per_second",
    "cost_usd",
    "usage_missing",
    "ttft_p50",
    "ttft_p90",
    "ttft_p95",
    "ttft_p99",
    "time_per_output_token_p50",
    "time_per_output_token_p90",
    "time_per_output_token_p95",
    "time_per_output_token_p99",
    "queue_p50",
    "queue_p90",
    "queue_p95",
    "queue_p99",
]

MEASURES: tuple[Measure, ...] = ("success_count", "failure_count", "latency_us")
_USED: dict[Metric, Measure] = {
    "tokens_per_second": "output_tokens",
    "input_tokens_per_second": "input_tokens",
    "cost_usd": "cost_nano_usd",
    "usage_missing": USAGE_MISSING,
}
_SPREADS = {"latency": LATENCY, "ttft": FIRST_TOKEN, "time_per_output_token": PER_TOKEN, "queue": QUEUE}
_PERCENTS: dict[str, tuple[Measure, tuple[int, ...]]] = {
    f"{name}_p{percent}": (spread, (percent,)) for name, spread in _SPREADS.items() for percent in (50, 90, 95, 99)
}
_ZERO_IN_GAPS = ("invocations", "errors", "requests_per_second", "active", *_USED)


class TimeseriesParameters(WindowParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked for; without a begin, the last hour."""

    metric: Annotated[
        Metric,
        Meta(
            description="Error rates in percent, latencies in milliseconds, percentiles within 1 % of the exact value. "
            "`active`: calls in flight on average, each counted where it began (latency, added up, per time). Tokens "
            "are as upstreams have reported them, in `tokens_per_second` those of the output; `usage_missing`: "
            "successes that should have reported some. `ttft`: of streams, time to the first output; `queue`: "
            "how long calls waited for room, where there is a queue."
        ),
    ] = "invocations"
    step: Annotated[
        str,
        Meta(
            pattern=DURATION_PATTERN,
            description="Length of a step, which begins at a multiple of it since 1970: a number and s, m, h, d or w, "
            "whole minutes and at most ten years.",
            examples=["5m"],
        ),
    ] = "1m"
    group_by: (
        Annotated[Literal["model_id"], Meta(description="A series for each model instead of one for all.")] | UnsetType
    ) = UNSET


Point = tuple[int, float | None]


class OneSeries(msgspec.Struct, frozen=True):
    """One figure per step."""

    model_id: Annotated[str | None, Meta(description="null: all that were asked for, together.")]
    points: Annotated[
        list[Point],
        Meta(
            description="Begin of the step in epoch seconds, and the figure. A step without invocations has 0 of them, "
            "0 errors and 0 per second, and null for what is undefined then."
        ),
    ]


class Timeseries(msgspec.Struct, frozen=True):
    """Whole steps: `since` is rounded down, `until` up."""

    metric: Metric
    step_seconds: Annotated[int, Meta(ge=60)]
    since: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    until: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    series: list[OneSeries]


EXAMPLE = Timeseries(
    metric="latency_p95",
    step_seconds=300,
    since="2024-01-15T10:20:00Z",
    until="2024-01-15T10:35:00Z",
    series=[OneSeries("gpt-3.5", [(1705314000, 230.1), (1705314300, None), (1705314600, 240.9)])],
)


async def timeseries(request: web.Request) -> web.Response:
    parameters = decode_query(request.query.items(), TimeseriesParameters)
    sidecar = request.app[SIDECAR]
    now_us = sidecar.clock.now_us()
    ask, window = to_ask(parameters, now_us)
    _check_points(parameters, window, len(ask.models) or 1)
    with store_problems(remedy_for(parameters, "choose a longer step")):
        table = await sidecar.reader.aggregate(ask)
    window, labels = table.window or window, _labels(ask, table)
    points = _check_points(parameters, window, len(labels))
    return await json_answer_of(request, 2 * points, lambda: to_timeseries(parameters, window, labels, table, now_us))


def to_ask(parameters: TimeseriesParameters, now_us: int) -> tuple[Ask, Window]:
    """What the store is asked: whole steps of a window."""
    step_us = _step_us(parameters.step)
    models, prefixes = split_models(parameters.model_id or ())
    window = align(to_window(parameters, now_us, DEFAULT_US) or window_before(now_us, DEFAULT_US), step_us)
    spread, percents = _PERCENTS.get(parameters.metric, (LATENCY, ()))
    ask = Ask(
        models=models,
        prefixes=prefixes,
        window=window,
        step_minutes=step_us // MINUTE_US,
        by=parameters.group_by or None,
        measures=(*MEASURES, *filter(None, [_USED.get(parameters.metric)])),
        percents=percents,
        spreads=(spread,),
    )
    return ask, window


def to_timeseries(
    parameters: TimeseriesParameters, window: Window, labels: list[str], table: Table, now_us: int
) -> Timeseries:
    """The series as the API shows them, gaps included."""
    metric, step = parameters.metric, _step_us(parameters.step) // MINUTE_US
    minutes = range(window.since_us // MINUTE_US, window.until_us // MINUTE_US, step)
    gap = 0 if metric in _ZERO_IN_GAPS else None
    figures: dict[str, dict[int, float | None]] = {label: {} for label in labels}
    for label, minute, figure in zip(table.groups, table.minutes, _figures(metric, step, now_us, table), strict=True):
        figures[label][minute] = figure
    series = [
        OneSeries(None if label == ALL else label, [(minute * MINUTE_S, of.get(minute, gap)) for minute in minutes])
        for label, of in figures.items()
    ]
    # The last step may go beyond the last year.
    since, until = (format_timestamp(min(moment_us, MAX_TIMESTAMP_US)) for moment_us in window)
    return Timeseries(metric, step * MINUTE_S, since, until, series)


def _labels(ask: Ask, table: Table) -> list[str]:
    """Of the series: those that were asked for by their id, and others that have records."""
    return [*ask.models, *sorted({*table.groups} - {*ask.models})] if ask.by else [ALL]


def _figures(metric: Metric, step: int, now_us: int, table: Table) -> Sequence[float | None]:
    """What is shown of each row."""
    success_counts, failure_counts, latencies_us = (table.sums[measure] for measure in MEASURES)
    counts = [*map(add, success_counts, failure_counts)]

    def past_us(minute: int) -> int:
        """Of a step, the part that is past; all of it where none is: other clocks may be ahead."""
        until_now_us = now_us - minute * MINUTE_US
        return min(until_now_us, step * MINUTE_US) if until_now_us > 0 else step * MINUTE_US

    match metric:
        case "invocations":
            return [*counts]
        case "errors":
            return [*failure_counts]
        case "error_rate":
            return [100 * failures / count for failures, count in zip(failure_counts, counts, strict=True)]
        case "requests_per_second":
            return [count / (past_us(at) / 1_000_000) for count, at in zip(counts, table.minutes, strict=True)]
        case "active":  # Little's law: time that calls took per time that went by
            return [taken_us / past_us(at) for taken_us, at in zip(latencies_us, table.minutes, strict=True)]
        case "latency_avg":
            return [taken_us / (count * 1000) for taken_us, count in zip(latencies_us, counts, strict=True)]
        case "tokens_per_second" | "input_tokens_per_second":
            tokens = table.sums[_USED[metric]]
            return [count / (past_us(at) / 1_000_000) for count, at in zip(tokens, table.minutes, strict=True)]
        case "cost_usd":
            return [nano_usd / NANO for nano_usd in table.sums[_USED[metric]]]
        case "usage_missing":
            return [*table.sums[_USED[metric]]]
    spread, (percent,) = _PERCENTS[metric]
    return [None if value_us is None else value_us / 1000 for value_us in table.percentiles_us[spread][percent]]


def _check_points(parameters: TimeseriesParameters, window: Window, series_count: int) -> int:
    """How many points the answer has; a 400 problem that names the smallest step allowed, if it would be too long."""
    points = _count_steps(window, _step_us(parameters.step)) * series_count
    if points <= MAX_POINTS:
        return points
    if series_count > MAX_POINTS // 2:  # any time may touch two steps, however long they are
        raise InvalidParameterError("group_by", "model_id", f"at most {MAX_POINTS // 2:,} models")
    minutes = _smallest_step(window, MAX_POINTS // series_count)
    allowed = f"at least {minutes}m" if minutes * MINUTE_US <= MAX_WINDOW_US else "none"
    raise InvalidParameterError(
        "step",
        parameters.step,
        f"{allowed} for this time and {series_count:,} series: an answer has at most {MAX_POINTS:,} points",
    )


def _smallest_step(window: Window, most: int) -> int:
    """In minutes, so that the window touches no more steps than these."""
    since, until = window.since_us // MINUTE_US, -(-window.until_us // MINUTE_US)
    minutes = -(-(until - since) // most)
    while _count_steps(window, minutes * MINUTE_US) > most:
        # The end must come near enough to the beginning, whose number gets no larger with longer steps.
        minutes = max(minutes + 1, -(-until // (since // minutes + most)))
    return minutes


def _count_steps(window: Window, step_us: int) -> int:
    since_us, until_us = align(window, step_us)
    return (until_us - since_us) // step_us


def _step_us(text: str) -> int:
    try:
        step_us = parse_duration(text)
    except ValueError:
        step_us = 0
    if step_us == 0 or step_us % MINUTE_US:
        raise InvalidParameterError("step", text, allowed_values(TimeseriesParameters, "step"))
    return step_us
