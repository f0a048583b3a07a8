"""Reads of stretches of time, all within one state of the store."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from operator import add, attrgetter
from typing import Any

import msgspec

from metrics_sidecar.history.queries import NotBuiltError
from metrics_sidecar.history.rollups import ALL_MODELS, LEVELS, MINUTE_US, Row, Summary, combine
from metrics_sidecar.history.sketch import merge, quantile_us, quantiles_us
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
from metrics_sidecar.sqlite.parts import EachModel, Parts
from metrics_sidecar.sqlite.rollups import Progress, read_progress
from metrics_sidecar.sqlite.summaries import COUNTS, LATENCIES
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID

PartRow = tuple[Any, ...]
"""As a `Detail` has it."""
Names = Mapping[int, str]
"""Under which name the models of these numbers are shown."""


def read_window(connection: sqlite3.Connection, window: Window, models: Sequence[str]) -> WindowAnswer:
    """As `Queries.window`."""
    progress = _complete_progress(connection)
    window = progress.round(window)
    stats: dict[str, WindowStats] = {}
    if not models or OVERFLOW_MODEL_ID in models:
        names = _labels(connection, only_overflow=bool(models))
        stats = {name: to_stats(summary) for name, summary in EachModel(connection, progress, window).sums(names)}
    names = _find(connection, models)
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in Parts(connection, progress, window, [*names]).read():
        rows[names[row[1]]].append(row)
    stats.update((name, to_stats(combine(parts))) for name, parts in rows.items())
    return WindowAnswer(window, stats)


def read_series(connection: sqlite3.Connection, query: SeriesQuery) -> SeriesAnswer:
    """As `Queries.series`."""
    progress = _complete_progress(connection)
    query = msgspec.structs.replace(query, window=_known_part(query, progress))
    return SeriesAnswer(query.window, _read_steps(connection, progress, query))


def _read_steps(connection: sqlite3.Connection, progress: Progress, query: SeriesQuery) -> Series:
    step, levels = query.step_minutes, _levels(query)
    detail = COUNTS if query.percent is None else LATENCIES
    found: dict[str, list[PartRow]] = defaultdict(list)
    for names, numbers in _series(connection, query):
        rows = Parts(connection, progress, query.window, numbers, detail=detail).read(levels)
        if numbers is not None and not query.by_model:
            found[ALL] += rows
            continue
        for row in rows:
            name = names.get(row[1])
            if name is not None:
                found[name if query.by_model else ALL].append(row)
    return {name: _steps(rows, step, query.percent) for name, rows in found.items() if rows}


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


def _steps(rows: Sequence[PartRow], step: int, percent: int | None) -> list[Step]:
    """In order. Most steps of a long series are one row: these are made all at once, column by column."""
    minutes = [row[0] - row[0] % step for row in rows]
    several = {minute for minute, count in Counter(minutes).items() if count > 1}
    together: dict[int, list[PartRow]] = defaultdict(list)
    alone: dict[int, PartRow] = {}
    for minute, row in zip(minutes, rows, strict=True):
        if minute in several:
            together[minute].append(row)
        else:
            alone[minute] = row
    steps = [_sum(minute, some, percent) for minute, some in together.items()]
    if alone:
        steps += _each(alone, percent)
    return sorted(steps, key=attrgetter("minute"))


def _each(minutes: Mapping[int, PartRow], percent: int | None) -> Iterator[Step]:
    """A step of each row."""
    _, _, success, failure, latency_us, *rest = zip(*minutes.values(), strict=True)
    if percent is None:
        return map(Step, minutes, success, failure, latency_us)
    lowest_us, highest_us, sketches = rest
    percentiles_us = map(quantile_us, sketches, map(add, success, failure), repeat(percent))
    within_us = map(min, map(max, percentiles_us, lowest_us), highest_us)
    return map(Step, minutes, success, failure, latency_us, within_us)


def _sum(minute: int, rows: Sequence[PartRow], percent: int | None) -> Step:
    """A step of all of them."""
    success, failure, latency_us, *rest = [*zip(*rows, strict=True)][2:]
    sums = sum(success), sum(failure), min(sum(latency_us), MAX_COUNT)
    if percent is None:
        return Step(minute, *sums)
    lowest_us, highest_us, sketches = rest
    (percentile_us,) = quantiles_us(merge(sketches), (percent,))
    return Step(minute, *sums, min(max(percentile_us, min(lowest_us)), max(highest_us)))
