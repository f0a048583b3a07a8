"""Statistics of stretches of time out of ten million rows, beside ten thousand, while records come in."""

import time

from tests.bench.asked import FEW_ROWS, ROWS, Question, compare, start
from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import Ground
from tests.bench.history_store import model_name

REPEATS = 150
"""In each round."""
MIB = 2**20
MODEL = f"model_id={model_name(1)}"

QUESTIONS = {
    **{f"stats of {window}, one model": (f"stats?window={window}&{MODEL}", 25) for window in ("5m", "1h", "24h", "7d")},
    "stats from an odd moment on, one model": (f"stats?since=12345.678901&{MODEL}", 25),
    **{f"stats of {window}, 1,000 models": (f"stats?window={window}", 400) for window in ("5m", "1h", "24h", "7d")},
    "a day's counts by minute, one model": (f"timeseries?metric=invocations&window=24h&{MODEL}", 100),
    "a day's 95th percentile by minute, one model": (f"timeseries?metric=latency_p95&window=24h&{MODEL}", 100),
    "a day's counts by minute, all models": ("timeseries?metric=invocations&window=24h", 100),
    "a day's 95th percentile by minute, all models": ("timeseries?metric=latency_p95&window=24h", 100),
}
"""Path → budget of the 99th percentile in ms."""


def measure(on: Ground) -> Outcome:
    now_us = time.time_ns() // 1000
    few, _, _ = start(on, FEW_ROWS, now_us)
    many, server, start_s = start(on, FEW_ROWS if on.effort.quick else ROWS, now_us)
    repeats = max(on.effort.count(REPEATS), 4)
    questions = {
        name: Question([f"/metrics/{path}"] * repeats, budget_ms) for name, (path, budget_ms) in QUESTIONS.items()
    }
    figures = compare(on, many, few, questions)
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
