"""Statistics of stretches of time out of ten million rows, beside ten thousand, while records come in."""

import time
from statistics import median, quantiles

from metrics_sidecar.settings import HISTORY_FILE
from tests.bench.figures import Budget, Figure, Outcome, figure
from tests.bench.ground import Ground, Server
from tests.bench.history_store import make_history, model_name
from tests.bench.http import Client
from tests.bench.lines.history import FEW_ROWS, MODELS, ROWS, ingesting
from tests.processes import System

REPEATS = 100
MIB = 2**20
MODEL = f"model_id={model_name(1)}"

QUESTIONS = {
    **{f"stats of {window}, one model": (f"stats?window={window}&{MODEL}", 10) for window in ("5m", "1h", "24h", "7d")},
    "stats from an odd moment on, one model": (f"stats?since=12345.678901&{MODEL}", 10),
    **{f"stats of {window}, 1,000 models": (f"stats?window={window}", 150) for window in ("5m", "1h", "24h", "7d")},
    "a day's counts by minute, one model": (f"timeseries?metric=invocations&window=24h&{MODEL}", 20),
    "a day's 95th percentile by minute, one model": (f"timeseries?metric=latency_p95&window=24h&{MODEL}", 20),
    "a day's counts by minute, all models": ("timeseries?metric=invocations&window=24h", 20),
    "a day's 95th percentile by minute, all models": ("timeseries?metric=latency_p95&window=24h", 20),
}
"""Path → budget of the 99th percentile in ms."""


def measure(on: Ground) -> Outcome:
    now_us = time.time_ns() // 1000
    few, _, _ = _start(on, FEW_ROWS, now_us)
    many, server, start_s = _start(on, FEW_ROWS if on.effort.quick else ROWS, now_us)
    with ingesting(many), ingesting(few):
        figures = [_compare(on, name, path, budget_ms, many, few) for name, (path, budget_ms) in QUESTIONS.items()]
        rss_mib = server.rss_bytes(peak=True) / MIB
    measurable = not on.effort.quick
    return Outcome(
        [
            *figures,
            figure("sidecar start", "s", start_s, budget=Budget("ours", at_most=2.0), measurable=measurable),
            figure(
                "memory, at its highest", "MiB RSS", rss_mib, budget=Budget("ours", at_most=150), measurable=measurable
            ),
        ]
    )


def _start(on: Ground, rows: int, now_us: int) -> tuple[System, Server, float]:
    """A sidecar with so many rows, and how long it took until it was ready."""
    directory = on.new_directory()
    make_history(directory / HISTORY_FILE, rows, MODELS, now_us)
    started = time.perf_counter()
    system, server = on.sidecar(SIDECAR_DATA_DIR=str(directory))
    return system, server, time.perf_counter() - started


def _compare(on: Ground, name: str, path: str, budget_ms: float, many: System, few: System) -> Figure:
    """Both in turns."""
    taken: dict[str, list[float]] = {many.sidecar_url: [], few.sidecar_url: []}
    with Client(many.sidecar_url) as one, Client(few.sidecar_url) as other:
        for _ in range(max(on.effort.count(REPEATS), 4)):
            for client, times in zip((one, other), taken.values(), strict=True):
                started = time.perf_counter()
                client.get(f"/metrics/{path}")
                times.append((time.perf_counter() - started) * 1000)
    ours, yardstick = ([quantiles(times, n=100)[98], median(times)] for times in taken.values())
    return figure(
        name,
        "p99 ms",
        ours[0],
        yardstick=(f"{FEW_ROWS:,} rows", yardstick[0]),
        budget=Budget("ours", at_most=budget_ms),
        measurable=not on.effort.quick,
        extra={"median": ours[1], f"median of {FEW_ROWS:,} rows": yardstick[1]},
    )
