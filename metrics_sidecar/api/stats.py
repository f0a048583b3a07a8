"""`GET /metrics/stats`: exact totals per model, since the beginning or in a stretch of time."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import json_answer_of, milliseconds, store_problems
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.windows import Window, WindowStats
from metrics_sidecar.ledger.totals import ModelTotals
from metrics_sidecar.parameters.decoding import decode_query
from metrics_sidecar.parameters.filters import split_models
from metrics_sidecar.parameters.window import WindowParameters, remedy_for, to_window
from shared.clock import format_timestamp
from shared.record import ErrorType

Count = Annotated[int, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Milliseconds = Annotated[float, Meta(ge=0)]
Percentile = Annotated[
    float, Meta(ge=0, description="Latency in milliseconds, within 1 % of the exact value. With a window only.")
]
Sum = Annotated[int, Meta(ge=0, description="With a window only.")]
Moment = Annotated[
    str, Meta(description="The window that was counted. With a window only.", extra_json_schema={"format": "date-time"})
]


class StatsParameters(WindowParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked of the statistics: without any time, since the beginning."""


class ModelStats(msgspec.Struct, frozen=True):
    """One model; rates in percent, latencies in milliseconds, none rounded. All but the percentiles is exact."""

    model_id: str
    total_invocations: Count
    successful_invocations: Count
    failed_invocations: Count
    success_rate: Percent
    failure_rate: Percent
    average_latency_ms: Milliseconds
    total_latency_ms: Milliseconds
    min_latency_ms: Milliseconds
    max_latency_ms: Milliseconds
    last_invocation: Annotated[
        str, Meta(description="When the latest was accepted.", extra_json_schema={"format": "date-time"})
    ]
    p50: Percentile | UnsetType = UNSET
    p90: Percentile | UnsetType = UNSET
    p95: Percentile | UnsetType = UNSET
    p99: Percentile | UnsetType = UNSET
    requests_per_second: (
        Annotated[
            float, Meta(ge=0, description="Over the part of the window that is past. With `since` or `window` only.")
        ]
        | UnsetType
    ) = UNSET
    errors: Annotated[dict[str, Count], Meta(description="Failures by type. With a window only.")] | UnsetType = UNSET
    total_input_size: Sum | UnsetType = UNSET
    total_output_size: Sum | UnsetType = UNSET


FIELDS = len(ModelStats.__struct_fields__)


class Stats(msgspec.Struct, frozen=True):
    """Statistics by model; models without an invocation are left out."""

    stats: dict[str, ModelStats]
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


EXAMPLE = Stats(
    {
        "gpt-3.5": ModelStats(
            "gpt-3.5",
            100,
            95,
            5,
            95.0,
            5.0,
            145.5,
            14550,
            50,
            300,
            "2024-01-15T10:30:00Z",
            p50=140.2,
            p90=210.6,
            p95=240.9,
            p99=298.5,
            requests_per_second=0.333,
            errors={ErrorType.TIMEOUT: 5},
            total_input_size=500,
            total_output_size=475,
        )
    },
    since="2024-01-15T10:26:00Z",
    until="2024-01-15T10:31:00Z",
)


async def stats(request: web.Request) -> web.Response:
    parameters = decode_query(request.query.items(), StatsParameters)
    models, prefixes = split_models(parameters.model_id or ())
    sidecar = request.app[SIDECAR]
    now_us = sidecar.clock.now_us()
    window = to_window(parameters, now_us)
    if window is None:
        with store_problems(remedy_for(parameters)):
            totals = await sidecar.queries.totals(models, prefixes)
        return await json_answer_of(
            request,
            len(totals) * FIELDS,
            lambda: Stats({model: to_stats(model, sums) for model, sums in totals.items() if sums.count}),
        )
    with store_problems(remedy_for(parameters)):
        answer = await sidecar.queries.window(window, models, prefixes)
    return await json_answer_of(
        request, len(answer.stats) * FIELDS, lambda: to_window_stats(answer.window, now_us, answer.stats)
    )


def to_window_stats(window: Window, now_us: int, stats: dict[str, WindowStats]) -> Stats:
    """The statistics of a window that may end in the future."""
    seconds = (min(window.until_us, now_us) - window.since_us) / 1_000_000
    return Stats(
        {model: _window_stats(model, one, seconds if window.since_us else 0) for model, one in stats.items()},
        since=format_timestamp(window.since_us),
        until=format_timestamp(window.until_us),
    )


def _window_stats(model_id: str, stats: WindowStats, seconds: float) -> ModelStats:
    p50, p90, p95, p99 = (value / 1000 for value in stats.percentiles_us)
    return msgspec.structs.replace(
        to_stats(model_id, stats),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        requests_per_second=stats.count / seconds if seconds > 0 else UNSET,
        errors=stats.errors,
        total_input_size=stats.input_size,
        total_output_size=stats.output_size,
    )


def to_stats(model_id: str, totals: ModelTotals | WindowStats) -> ModelStats:
    """Each quotient is one division of integers, so it is the float nearest to the exact value."""
    count = totals.count
    return ModelStats(
        model_id=model_id,
        total_invocations=count,
        successful_invocations=totals.success_count,
        failed_invocations=totals.failure_count,
        success_rate=100 * totals.success_count / count,
        failure_rate=100 * totals.failure_count / count,
        average_latency_ms=totals.latency_us / (count * 1000),
        total_latency_ms=milliseconds(totals.latency_us),
        min_latency_ms=milliseconds(totals.min_latency_us),
        max_latency_ms=milliseconds(totals.max_latency_us),
        last_invocation=format_timestamp(totals.last_timestamp_us),
    )
