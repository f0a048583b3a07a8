"""`GET /metrics/stats`: exact totals per model since the beginning."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api import QUERIES
from metrics_sidecar.api.answers import large_json_answer, milliseconds, store_problems
from metrics_sidecar.api.parameters import ModelFilter, decode_query
from metrics_sidecar.queries import Queries
from metrics_sidecar.totals import ModelTotals
from shared.clock import format_timestamp
from shared.record import OVERFLOW_MODEL_ID

Count = Annotated[int, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Milliseconds = Annotated[float, Meta(ge=0)]


class StatsParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked of the statistics."""

    model_id: ModelFilter | UnsetType = UNSET


class ModelStats(msgspec.Struct, frozen=True):
    """One model since the beginning; rates in percent, latencies in milliseconds, none rounded."""

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


class Stats(msgspec.Struct, frozen=True):
    """Statistics by model; models without an invocation are left out."""

    stats: dict[str, ModelStats]


EXAMPLE = Stats(
    {"gpt-3.5": ModelStats("gpt-3.5", 100, 95, 5, 95.0, 5.0, 145.5, 14550, 50, 300, "2024-01-15T10:30:00Z")}
)


async def stats(request: web.Request) -> web.Response:
    parameters = decode_query(request.query, StatsParameters)
    with store_problems():
        totals = await _totals(request.app[QUERIES], parameters.model_id or None)
    return await large_json_answer(
        lambda: Stats({model: to_stats(model, sums) for model, sums in totals.items() if sums.count})
    )


async def _totals(queries: Queries, model_id: str | None) -> dict[str, ModelTotals]:
    if model_id is None:
        return await queries.totals_by_label()
    if model_id == OVERFLOW_MODEL_ID:  # no true model: only its label has totals
        by_label = await queries.totals_by_label()
        totals = by_label.get(model_id)
    else:
        totals = await queries.totals(model_id)
    return {} if totals is None else {model_id: totals}


def to_stats(model_id: str, totals: ModelTotals) -> ModelStats:
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
