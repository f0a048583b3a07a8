"""`GET /metrics/timeseries`: one figure per step of time."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import json_answer_of, store_problems
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.rollups import HOUR, MINUTE_US
from metrics_sidecar.history.windows import (
    ALL,
    MAX_WINDOW_US,
    Series,
    SeriesQuery,
    Step,
    Window,
    align,
    parse_duration,
    window_before,
)
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
]

_PERCENT = {"latency_p50": 50, "latency_p90": 90, "latency_p95": 95, "latency_p99": 99}
_ZERO_IN_GAPS = ("invocations", "errors", "requests_per_second", "active")


class TimeseriesParameters(WindowParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked for; without a begin, the last hour."""

    metric: Annotated[
        Metric,
        Meta(
            description="Error rates in percent, latencies in milliseconds, percentiles within 1 % of the exact value. "
            "`active`: calls in flight on average, each counted where it began (latency, added up, per time)."
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
    now_us = request.app[SIDECAR].clock.now_us()
    query = to_query(parameters, now_us)
    _check_points(parameters, query, len(query.models) or 1)
    with store_problems(remedy_for(parameters, "choose a longer step")):
        window, found = await request.app[SIDECAR].queries.series(query)
    query = msgspec.structs.replace(query, window=window)
    labels = _labels(query, found)
    points = _check_points(parameters, query, len(labels))
    return await json_answer_of(
        request, 2 * points, lambda: to_timeseries(parameters.metric, query, now_us, labels, found)
    )


def to_query(parameters: TimeseriesParameters, now_us: int) -> SeriesQuery:
    """What the store is asked: whole steps."""
    step_us = _step_us(parameters.step)
    models, prefixes = split_models(parameters.model_id or ())
    return SeriesQuery(
        window=align(to_window(parameters, now_us, DEFAULT_US) or window_before(now_us, DEFAULT_US), step_us),
        step_minutes=step_us // MINUTE_US,
        models=models,
        prefixes=prefixes,
        by_model=parameters.group_by is not UNSET,
        percent=_PERCENT.get(parameters.metric),
    )


def to_timeseries(metric: Metric, query: SeriesQuery, now_us: int, labels: list[str], found: Series) -> Timeseries:
    """The series as the API shows them, gaps included."""
    since_us, until_us = query.window
    minutes = range(since_us // MINUTE_US, until_us // MINUTE_US, query.step_minutes)
    gap = 0 if metric in _ZERO_IN_GAPS else None
    series = []
    for label in labels:
        steps = found.get(label, ())
        figures = dict(zip([step.minute for step in steps], _figures(metric, query, now_us, steps), strict=True))
        points: list[Point] = [(minute * MINUTE_S, figures.get(minute, gap)) for minute in minutes]
        series.append(OneSeries(None if label == ALL else label, points))
    # The last step may go beyond the last year.
    since, until = (format_timestamp(min(moment_us, MAX_TIMESTAMP_US)) for moment_us in query.window)
    return Timeseries(metric, query.step_minutes * MINUTE_S, since, until, series)


def _labels(query: SeriesQuery, found: Series) -> list[str]:
    """Of the series: those that were asked for by their id, and others that have records."""
    if not query.by_model:
        return [ALL]
    return [*query.models, *sorted(found.keys() - {*query.models})]


def _figures(metric: Metric, query: SeriesQuery, now_us: int, steps: Sequence[Step]) -> Sequence[float | None]:
    """What is shown of each of the steps, which have records."""
    step_us = query.step_minutes * MINUTE_US

    def past_us(step: Step) -> int:
        """Of the step, the part that is past; all of it where none is: other clocks may be ahead."""
        until_now_us = now_us - step.minute * MINUTE_US
        return min(until_now_us, step_us) if until_now_us > 0 else step_us

    match metric:
        case "invocations":
            return [step.success_count + step.failure_count for step in steps]
        case "errors":
            return [step.failure_count for step in steps]
        case "error_rate":
            return [100 * step.failure_count / step.count for step in steps]
        case "requests_per_second":
            return [step.count / (past_us(step) / 1_000_000) for step in steps]
        case "active":  # Little's law: time that calls took per time that went by
            return [step.latency_us / past_us(step) for step in steps]
        case "latency_avg":
            return [step.latency_us / (step.count * 1000) for step in steps]
    return [None if step.percentile_us is None else step.percentile_us / 1000 for step in steps]


def _check_points(parameters: TimeseriesParameters, query: SeriesQuery, series_count: int) -> int:
    """How many points the answer has; a 400 problem that names the smallest step allowed, if it would be too long."""
    points = _count_steps(query.window, query.step_minutes * MINUTE_US) * series_count
    if points <= MAX_POINTS:
        return points
    if series_count > MAX_POINTS // 2:  # any time may touch two steps, however long they are
        raise InvalidParameterError("group_by", "model_id", f"at most {MAX_POINTS // 2:,} models")
    minutes = _smallest_step(query.window, MAX_POINTS // series_count)
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
