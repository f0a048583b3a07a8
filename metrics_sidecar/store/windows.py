"""Reads of stretches of time, all within one state of the store."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from metrics_sidecar.queries import NotBuiltError
from metrics_sidecar.rollups import ALL_MODELS, LEVELS, MINUTE_US, Row, Summary, combine
from metrics_sidecar.sketch import merge, quantile_us, quantiles_us
from metrics_sidecar.store.parts import EachModel, Parts
from metrics_sidecar.store.rollups import Progress, read_progress
from metrics_sidecar.store.summaries import COUNTS, LATENCIES
from metrics_sidecar.windows import (
    ALL,
    PERCENTS,
    SeriesAnswer,
    SeriesQuery,
    Step,
    Window,
    WindowAnswer,
    WindowStats,
)
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID

PartRow = tuple[Any, ...]
"""As a `Detail` has it."""
Names = Mapping[int, str]
"""Under which name the models of these numbers are shown."""


def read_window(connection: sqlite3.Connection, window: Window, models: Sequence[str]) -> WindowAnswer:
    """As `Queries.window`."""
    progress = _complete_progress(connection)
    window = progress.round(window)
    found: dict[str, Summary] = {}
    if not models or OVERFLOW_MODEL_ID in models:
        names = _labels(connection, only_overflow=bool(models))
        found = EachModel(connection, progress, window).sums(names)
    names = _find(connection, models)
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in Parts(connection, progress, window, [*names]).read():
        rows[names[row[1]]].append(row)
    found.update((name, combine(parts)) for name, parts in rows.items())
    return WindowAnswer(window, {name: to_stats(summary) for name, summary in found.items()})


def read_series(connection: sqlite3.Connection, query: SeriesQuery) -> SeriesAnswer:
    """As `Queries.series`."""
    progress = _complete_progress(connection)
    step = query.step_minutes
    levels = [level for level in LEVELS if step % level == 0]
    window = _known_part(query.window, progress, step, levels)
    found: dict[str, dict[int, list[PartRow]]] = defaultdict(dict)
    for names, numbers in _series(connection, query):
        parts = Parts(connection, progress, window, numbers, detail=COUNTS if query.percent is None else LATENCIES)
        for row in parts.read(levels):
            name = names.get(row[1])
            if name is not None:
                steps = found[name if query.by_model else ALL]
                minute = row[0] - row[0] % step
                if minute in steps:
                    steps[minute].append(row)
                else:
                    steps[minute] = [row]
    make = _counts if query.percent is None else partial(_percentile, query.percent)
    series = {name: [make(minute, rows) for minute, rows in sorted(steps.items())] for name, steps in found.items()}
    return SeriesAnswer(window, series)


def _series(connection: sqlite3.Connection, query: SeriesQuery) -> Iterator[tuple[Names, list[int] | None]]:
    """What to read: models of these numbers, or all (None), of which only those that have a name are wanted. Of all
    together none is read twice."""
    if not query.models and not query.by_model:
        yield {ALL_MODELS: ALL}, [ALL_MODELS]
        return
    overflow: Names = {}
    if not query.models or OVERFLOW_MODEL_ID in query.models:
        overflow = _labels(connection, only_overflow=bool(query.models))
        yield overflow, None
    found = _find(connection, query.models)
    names = {model: name for model, name in found.items() if query.by_model or model not in overflow}
    yield names, [*names]


def _known_part(window: Window, progress: Progress, step: int, levels: Sequence[int]) -> Window:
    """From when on there are such steps."""
    kept_from = progress.kept.levels[levels[-1]]
    earliest_us = -(-kept_from // step) * step * MINUTE_US
    return Window(min(max(window.since_us, earliest_us), window.until_us), window.until_us)


def _complete_progress(connection: sqlite3.Connection) -> Progress:
    progress = read_progress(connection)
    if not progress.is_complete:
        share = progress.older_id / progress.older_end_id
        raise NotBuiltError(f"statistics of the older rows are being made, {share:.0%} is done")
    return progress


def _labels(connection: sqlite3.Connection, *, only_overflow: bool) -> Names:
    """Of all models, or of those that share one."""
    where = "WHERE NOT labelled" if only_overflow else ""
    query = f"SELECT model, CASE WHEN labelled THEN model_id ELSE ? END FROM models {where}"
    return dict(connection.execute(query, (OVERFLOW_MODEL_ID,)))


def _find(connection: sqlite3.Connection, models: Sequence[str]) -> Names:
    """Those models that there are, by their true ids."""
    query = "SELECT model, model_id FROM models WHERE model_id = ?"
    found = (connection.execute(query, (model,)).fetchone() for model in models)
    return dict(filter(None, found))


def to_stats(summary: Summary) -> WindowStats:
    """As it is told."""
    return WindowStats(
        success_count=summary.success_count,
        failure_count=summary.failure_count,
        latency_us=summary.latency_us,
        min_latency_us=summary.min_latency_us,
        max_latency_us=summary.max_latency_us,
        last_timestamp_us=summary.last_timestamp_us,
        input_size=summary.input_size,
        output_size=summary.output_size,
        errors=summary.errors,
        percentiles_us=tuple(summary.quantiles_us(PERCENTS)),
    )


def _counts(minute: int, rows: Sequence[PartRow]) -> Step:
    if len(rows) == 1:  # so it is in most of thousands of steps
        return Step(minute, *rows[0][2:5])
    success, failure, latency_us = map(sum, zip(*(row[2:5] for row in rows), strict=True))
    return Step(minute, success, failure, min(latency_us, MAX_COUNT))


def _percentile(percent: int, minute: int, rows: Sequence[PartRow]) -> Step:
    if len(rows) == 1:
        _, _, success, failure, latency_us, minimum, maximum, sketch = rows[0]
        percentile_us = quantile_us(sketch, success + failure, percent)
        return Step(minute, success, failure, latency_us, min(max(percentile_us, minimum), maximum))
    (percentile_us,) = quantiles_us(merge([row[7] for row in rows]), (percent,))
    percentile_us = min(max(percentile_us, min(row[5] for row in rows)), max(row[6] for row in rows))
    return replace(_counts(minute, rows), percentile_us=percentile_us)
