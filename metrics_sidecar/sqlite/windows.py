"""Reads of stretches of time, all within one state of the store."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from metrics_sidecar.history.queries import NotBuiltError
from metrics_sidecar.history.rollups import ALL_MODELS, LEVELS, MINUTE_US, Row, Summary, add_up, combine
from metrics_sidecar.history.sketch import merge, quantiles_us
from metrics_sidecar.history.windows import (
    ALL,
    PERCENTS,
    Series,
    SeriesAnswer,
    SeriesQuery,
    Step,
    Window,
    WindowAnswer,
    WindowStats,
)
from metrics_sidecar.sqlite.parts import Parts
from metrics_sidecar.sqlite.rollups import Progress, read_progress
from shared.record import OVERFLOW_MODEL_ID

Names = Mapping[int, str]
"""Under which name the models of these numbers are shown."""


def read_window(connection: sqlite3.Connection, window: Window, models: Sequence[str]) -> WindowAnswer:
    """As `Queries.window`."""
    progress = _complete_progress(connection)
    window = progress.round(window)
    stats: dict[str, WindowStats] = {}
    if not models or OVERFLOW_MODEL_ID in models:
        stats = _read_stats(connection, progress, window, _labels(connection, only_overflow=bool(models)), None)
    names = _find(connection, models)
    stats |= _read_stats(connection, progress, window, names, [*names])
    return WindowAnswer(window, stats)


def _read_stats(
    connection: sqlite3.Connection, progress: Progress, window: Window, names: Names, models: Sequence[int] | None
) -> dict[str, WindowStats]:
    """By name."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in Parts(connection, progress, window, models).read():
        if row[1] in names:
            rows[names[row[1]]].append(row)
    return {name: to_stats(combine(parts)) for name, parts in rows.items()}


def read_series(connection: sqlite3.Connection, query: SeriesQuery) -> SeriesAnswer:
    """As `Queries.series`."""
    progress = _complete_progress(connection)
    query = msgspec.structs.replace(query, window=_known_part(query, progress))
    return SeriesAnswer(query.window, _read_steps(connection, progress, query))


def _read_steps(connection: sqlite3.Connection, progress: Progress, query: SeriesQuery) -> Series:
    found: dict[str, list[Row]] = defaultdict(list)
    for names, numbers in _series(connection, query):
        for row in Parts(connection, progress, query.window, numbers).read(_levels(query)):
            if row[1] in names:
                found[names[row[1]] if query.by_model else ALL].append(row)
    return {name: _steps(rows, query.step_minutes, query.percent) for name, rows in found.items()}


def _levels(query: SeriesQuery) -> list[int]:
    """Whose buckets make up its steps."""
    return [level for level in LEVELS if query.step_minutes % level == 0]


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


def _known_part(query: SeriesQuery, progress: Progress) -> Window:
    """From when on there are such steps."""
    step = query.step_minutes
    kept_from = progress.kept.levels[_levels(query)[-1]]
    earliest_us = -(-kept_from // step) * step * MINUTE_US
    since_us, until_us = query.window
    return Window(min(max(since_us, earliest_us), until_us), until_us)


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


def _steps(rows: Iterable[Row], step: int, percent: int | None) -> list[Step]:
    """In order."""
    together: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        together[row[0] // step * step].append(row)
    return [_sum(minute, some, percent) for minute, some in sorted(together.items())]


def _sum(minute: int, rows: Sequence[Row], percent: int | None) -> Step:
    """A step of all of them."""
    success, failure, latency_us, lowest_us, highest_us, *_ = add_up([row[2:10] for row in rows])
    if percent is None:
        return Step(minute, success, failure, latency_us)
    (percentile_us,) = quantiles_us(merge(row[11] for row in rows), (percent,))
    return Step(minute, success, failure, latency_us, min(max(percentile_us, lowest_us), highest_us))
