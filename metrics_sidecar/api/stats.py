"""`GET /metrics/stats`: exact totals per model, since the beginning or in a stretch of time."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import json_answer_of, milliseconds, store_problems
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.aggregate import ADDED_UP, CALLS, LATENCY, MEASURES, SPREADS, Ask, Measure, Table
from metrics_sidecar.history.shown import Dollars, dollars
from metrics_sidecar.ledger.usage import FIRST_TOKEN, PER_TOKEN, QUEUE, USAGE_MISSING
from metrics_sidecar.parameters.decoding import decode_query
from metrics_sidecar.parameters.filters import split_models
from metrics_sidecar.parameters.window import WindowParameters, remedy_for, to_window
from shared.clock import format_timestamp
from shared.record import COUNTED, ErrorType

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


OfStreams = Annotated[
    float | None,
    Meta(description="Of streams, in milliseconds, within 1 %; null if none had an output. With a window only."),
]
OfQueue = Annotated[
    float | None,
    Meta(
        description="How long calls waited for room, in milliseconds, within 1 %. For models with a queue, in a window."
    ),
]
Money = Annotated[Dollars, Meta(description="As it was recorded, exact. For models with tokens or cost only.")]
Tokens = Annotated[int, Meta(ge=0, description="As upstreams have reported them. For models with any only.")]
Missed = Annotated[
    int, Meta(ge=0, description="Successes that should have reported tokens and didn't. For models with any only.")
]

PERCENTS = (50, 90, 95, 99)
COST = "cost_nano_usd"
SIZES = [name for name in ADDED_UP if name not in COUNTED]
USED = {
    **{name: "cost_usd" if name == COST else f"total_{name}" for name in COUNTED},
    USAGE_MISSING: USAGE_MISSING,
}
"""Measures of what was used, and how they are shown."""
OF_STREAMS = {FIRST_TOKEN: "ttft_", PER_TOKEN: "time_per_output_token_"}
WAITED = {QUEUE: "queue_"}
"""Times, and how names of their percentiles begin."""


def _used_type(name: str) -> Any:
    return {"cost_usd": Money, USAGE_MISSING: Missed}.get(name, Tokens)


class StatsParameters(WindowParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked of the statistics: without any time, since the beginning."""


class CommonStats(msgspec.Struct, frozen=True):
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


if TYPE_CHECKING:
    ModelStats = CommonStats
else:
    ModelStats = msgspec.defstruct(
        "ModelStats",
        [
            *((f"total_{name}", Sum | UnsetType, UNSET) for name in SIZES),
            *((name, _used_type(name) | UnsetType, UNSET) for name in USED.values()),
            *((f"{prefix}p{n}", OfStreams | UnsetType, UNSET) for prefix in OF_STREAMS.values() for n in PERCENTS),
            *((f"{prefix}p{n}", OfQueue | UnsetType, UNSET) for prefix in WAITED.values() for n in PERCENTS),
        ],
        bases=(CommonStats,),
        frozen=True,
        namespace={"__doc__": CommonStats.__doc__},
    )

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
            **{f"total_{name}": 500 for name in SIZES},
            **{name: {"cost_usd": "0.125", USAGE_MISSING: 0}.get(name, 500) for name in USED.values()},
            **{f"{prefix}p{percent}": 20.5 for prefix in (OF_STREAMS | WAITED).values() for percent in PERCENTS},
        )
    },
    since="2024-01-15T10:26:00Z",
    until="2024-01-15T10:31:00Z",
)


async def stats(request: web.Request) -> web.Response:
    parameters = decode_query(request.query.items(), StatsParameters)
    sidecar = request.app[SIDECAR]
    now_us = sidecar.clock.now_us()
    with store_problems(remedy_for(parameters)):
        table = await sidecar.reader.aggregate(to_ask(parameters, now_us))
    return await json_answer_of(request, len(table.groups) * FIELDS, lambda: to_stats(table, now_us))


def to_ask(parameters: StatsParameters, now_us: int) -> Ask:
    """What the store is asked."""
    models, prefixes = split_models(parameters.model_id or ())
    window = to_window(parameters, now_us)
    if window is None:
        return Ask(models=models, prefixes=prefixes)
    return Ask(
        models=models,
        prefixes=prefixes,
        window=window,
        measures=MEASURES,
        percents=PERCENTS,
        spreads=SPREADS,
        errors=True,
    )


def to_stats(table: Table, now_us: int) -> Stats:
    """The table as the API shows it; its window may end in the future."""
    columns = zip(*(table.sums[measure] for measure in CALLS), strict=True)
    models = [_model_stats(model, *sums) for model, sums in zip(table.groups, columns, strict=True)]
    if table.window is None:
        used = (msgspec.structs.replace(one, **_usage(table, row)) for row, one in enumerate(models))
        return Stats({one.model_id: one for one in used})
    since_us, until_us = table.window
    seconds = (min(until_us, now_us) - since_us) / 1_000_000 if since_us else 0
    return Stats(
        {one.model_id: _with_window(one, table, row, seconds) for row, one in enumerate(models)},
        since=format_timestamp(since_us),
        until=format_timestamp(until_us),
    )


def _with_window(model: ModelStats, table: Table, row: int, seconds: float) -> ModelStats:
    return msgspec.structs.replace(
        model,
        **_percentiles(table, LATENCY, "", row),
        requests_per_second=model.total_invocations / seconds if seconds > 0 else UNSET,
        errors=table.errors[row],
        **{f"total_{name}": table.sums[name][row] for name in SIZES},
        **_usage(table, row),
        **_waited(table, row),
    )


def _usage(table: Table, row: int) -> dict[str, Any]:
    """Nothing for a model that nothing of it is known of."""
    used = {name: table.sums[name][row] for name in USED}
    spread = {
        name: value
        for field, prefix in OF_STREAMS.items()
        if table.window
        for name, value in _percentiles(table, field, prefix, row).items()
    }
    if not any(used.values()) and all(value is None for value in spread.values()):
        return {}
    shown = {USED[name]: dollars(number) if name == COST else number for name, number in used.items()}
    return {**shown, **spread}


def _waited(table: Table, row: int) -> dict[str, Any]:
    """Nothing for a model without a queue."""
    spread = _percentiles(table, QUEUE, WAITED[QUEUE], row)
    return {} if all(value is None for value in spread.values()) else spread


def _percentiles(table: Table, field: Measure, prefix: str, row: int) -> dict[str, float | None]:
    """In milliseconds, by their names."""
    found = ((percent, table.percentiles_us[field][percent][row]) for percent in PERCENTS)
    return {f"{prefix}p{percent}": None if value_us is None else value_us / 1000 for percent, value_us in found}


def _model_stats(
    model_id: str, success_count: int, failure_count: int, latency_us: int, least_us: int, most_us: int, last_us: int
) -> ModelStats:
    """Each quotient is one division of integers, so it is the float nearest to the exact value."""
    count = success_count + failure_count
    return ModelStats(
        model_id=model_id,
        total_invocations=count,
        successful_invocations=success_count,
        failed_invocations=failure_count,
        success_rate=100 * success_count / count,
        failure_rate=100 * failure_count / count,
        average_latency_ms=latency_us / (count * 1000),
        total_latency_ms=milliseconds(latency_us),
        min_latency_ms=milliseconds(least_us),
        max_latency_ms=milliseconds(most_us),
        last_invocation=format_timestamp(last_us),
    )
