"""Sums over stretches of time, and since the beginning: all within one state of the store."""

import functools
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from metrics_sidecar.history.aggregate import ALL, LATENCY, MEASURES, SINCE_THE_BEGINNING, Ask, Measure, Table
from metrics_sidecar.history.queries import NotBuiltError
from metrics_sidecar.history.windows import MINUTE_US, Window
from metrics_sidecar.ledger.totals import merged
from metrics_sidecar.sqlite.buckets import (
    ALL_MODELS,
    LEVELS,
    OF_ERRORS,
    OF_NUMBERS,
    OF_SKETCHES,
    Numbers,
    Row,
    add_errors,
    add_up,
)
from metrics_sidecar.sqlite.filters import find_ids
from metrics_sidecar.sqlite.parts import Parts
from metrics_sidecar.sqlite.rollups import Progress, read_progress
from metrics_sidecar.sqlite.sketch import merge, quantiles_us
from metrics_sidecar.sqlite.state import read_totals_by_label, read_totals_of
from shared.record import OVERFLOW_MODEL_ID

Names = Mapping[int, str]
"""Under which name the models of these numbers are shown."""


def read_aggregate(connection: sqlite3.Connection, ask: Ask) -> Table:
    """As `Reader.aggregate`."""
    models = find_ids(connection, ask.models, ask.prefixes)
    if ask.window is None:
        return _since_the_beginning(connection, ask, models)
    progress, step = _complete_progress(connection), ask.step_minutes
    window = _known_part(ask.window, step, progress) if step else progress.round(ask.window)
    found: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for names, numbers in _wanted(connection, ask, models):
        for row in Parts(connection, progress, window, numbers).read(_levels(step)):
            if row[1] in names:
                found[row[0] // step * step if step else 0, names[row[1]] if ask.by else ALL].append(row)
    keys = sorted(found, key=itemgetter(0))
    parts = [found[key] for key in keys]
    sums = [add_up([row[OF_NUMBERS] for row in rows]) for rows in parts]
    return Table(
        window=window,
        groups=[group for _, group in keys],
        minutes=[minute for minute, _ in keys],
        sums=_columns(ask.measures, MEASURES, sums),
        percentiles_us={spread: _percentiles(ask.percents, spread, parts, sums) for spread in ask.spreads}
        if ask.percents
        else {},
        errors=[add_errors(row[OF_ERRORS] for row in rows if row[OF_ERRORS]) for rows in parts] if ask.errors else [],
    )


def _columns(
    wanted: Sequence[Measure], measures: Sequence[Measure], rows: Sequence[Sequence[int]]
) -> dict[Measure, list[int]]:
    return {measure: [row[measures.index(measure)] for row in rows] for measure in wanted}


def _percentiles(
    percents: Sequence[int], spread: Measure, parts: Sequence[Sequence[Row]], sums: Sequence[Numbers]
) -> dict[int, list[float | None]]:
    """Of latencies never beyond the smallest or the largest."""
    place = OF_SKETCHES[spread]
    found: list[Sequence[float | None]] = []
    for rows, (_, _, _, least_us, most_us, *_) in zip(parts, sums, strict=True):
        histogram = merge(row[place] for row in rows if row[place])
        if not histogram.counts:
            found.append([None] * len(percents))
        elif spread == LATENCY:
            found.append([min(max(us, least_us), most_us) for us in quantiles_us(histogram, percents)])
        else:
            found.append(quantiles_us(histogram, percents))
    return {percent: [values_us[number] for values_us in found] for number, percent in enumerate(percents)}


def _since_the_beginning(connection: sqlite3.Connection, ask: Ask, models: Sequence[str]) -> Table:
    found = {group: totals for group, totals in read_totals_of(connection, models).items() if totals.count}
    if ask.by is None and OVERFLOW_MODEL_ID in found:  # which has those without a label
        labels = read_totals_by_label(connection)
        found = {group: totals for group, totals in found.items() if group in labels}
    if ask.by is None and found:
        found = {ALL: functools.reduce(merged, found.values())}
    sums = [[totals.number(measure) for measure in SINCE_THE_BEGINNING] for totals in found.values()]
    return Table(
        window=None,
        groups=[*found],
        minutes=[0] * len(found),
        sums=_columns(ask.measures, SINCE_THE_BEGINNING, sums),
        percentiles_us={},
        errors=[dict(totals.errors) for totals in found.values()] if ask.errors else [],
    )


def _wanted(
    connection: sqlite3.Connection, ask: Ask, models: Sequence[str]
) -> Iterator[tuple[Names, list[int] | None]]:
    """What to read: models of these numbers, or all (None), of which only those that have a name are wanted. Of all
    together none is read twice."""
    if not models and ask.by is None:
        yield {ALL_MODELS: ALL}, [ALL_MODELS]
        return
    overflow: Names = {}
    if not models or OVERFLOW_MODEL_ID in models:
        overflow = _labels(connection, only_overflow=bool(models))
        yield overflow, None
    found = _find(connection, models)
    names = {model: name for model, name in found.items() if ask.by or model not in overflow}
    yield names, [*names]


def _levels(step: int) -> list[int]:
    """Whose buckets make up steps of so many minutes; or, without any, a window."""
    return [level for level in LEVELS if step % level == 0]


def _known_part(window: Window, step: int, progress: Progress) -> Window:
    """From when on there are such steps."""
    kept_from = progress.kept.levels[_levels(step)[-1]]
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
