"""What the rows of one model must add up to: its statistics and its counters."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S
from metrics_sidecar.ledger.usage import FIRST_TOKEN_BOUNDS_S, PER_TOKEN_BOUNDS_S, QUEUE_BOUNDS_S
from shared.record import METERED
from tests.chaos.views import ModelStats, Row, Series


def stats_of(rows: Sequence[Row]) -> ModelStats:
    """Its statistics."""
    latencies = [row.latency_us for row in rows]
    success = sum(row.success for row in rows)
    shown = (sum(latencies) / 1000, min(latencies) / 1000, max(latencies) / 1000)
    return ModelStats(len(rows), success, len(rows) - success, *shown)


def series_of(model: str, rows: Sequence[Row]) -> Series:
    """Its counters."""
    label = f'model_id="{model}"'
    success = sum(row.success for row in rows)
    series: dict[str, float] = {
        f'model_invocations_total{{{label},status="success"}}': success,
        f'model_invocations_total{{{label},status="failure"}}': len(rows) - success,
        f"model_total_invocations{{{label}}}": len(rows),
        f"model_success_rate{{{label}}}": 100 * success / len(rows),
    }
    for error_type, count in Counter(row.error_type for row in rows if row.error_type).items():
        series[f'model_invocation_errors_total{{{label},error_type="{error_type}"}}'] = count
    latencies_us = [row.latency_us for row in rows]
    series |= histogram("model_invocation_latency_seconds", label, BUCKET_BOUNDS_S, latencies_us)
    return {name: float(value) for name, value in (series | usage_of(label, rows)).items()}


def usage_of(label: str, rows: Sequence[Row]) -> Series:
    """Tokens, cost, and times of streams and of waiting. What is nothing is left out, for it may be shown or not."""
    series: Series = {}
    for type_ in ("input", "cached_input", "output", "reasoning"):
        tokens = sum(getattr(row, f"{type_}_tokens") or 0 for row in rows)
        series[f'model_tokens_total{{{label},type="{type_}"}}'] = tokens
    series[f"model_cost_usd_total{{{label}}}"] = float(sum(Decimal(row.cost_usd or 0) for row in rows))
    missing = (
        row.operation in METERED and row.success and row.input_tokens is None and row.output_tokens is None
        for row in rows
    )
    series[f"model_usage_missing_total{{{label}}}"] = sum(missing)
    for name, bounds_s, times_ms in (
        ("model_time_to_first_token_seconds", FIRST_TOKEN_BOUNDS_S, [row.time_to_first_token_ms for row in rows]),
        ("model_time_per_output_token_seconds", PER_TOKEN_BOUNDS_S, [row.time_per_output_token_ms for row in rows]),
        ("model_queue_seconds", QUEUE_BOUNDS_S, [row.queue_ms for row in rows]),
    ):
        series |= histogram(name, label, bounds_s, [round(ms * 1000) for ms in times_ms if ms is not None])
    return {name: value for name, value in series.items() if value}


def histogram(name: str, label: str, bounds_s: Sequence[float], times_us: Sequence[int]) -> Series:
    """Of these times."""
    bounds_us = [round(bound * 1_000_000) for bound in bounds_s]
    buckets = [0] * (len(bounds_us) + 1)
    for time_us in times_us:
        buckets[bisect_left(bounds_us, time_us)] += 1
    series: Series = {}
    for bound, count in zip((*map(str, bounds_s), "+Inf"), accumulate(buckets), strict=True):
        series[f'{name}_bucket{{{label},le="{bound}"}}'] = count
    sum_us = sum(times_us)
    series[f"{name}_sum{{{label}}}"] = float(f"{sum_us // 1_000_000}.{sum_us % 1_000_000:06d}")
    series[f"{name}_count{{{label}}}"] = len(times_us)
    return series
