"""Reads of stretches of time: whole minutes from the rollups, the rest from the rows, within one transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

from metrics_sidecar.queries import NotBuiltError
from metrics_sidecar.rollups import ALL_MODELS, DAY, HOUR, LEVELS, MINUTE_US, Row, Segment, combine
from metrics_sidecar.store.rollups import EXISTING_BUCKETS, SUMMARY, Progress, read_progress, summarize, table
from metrics_sidecar.windows import ALL, SeriesAnswer, SeriesQuery, Window, WindowAnswer
from shared.record import OVERFLOW_MODEL_ID

SERIES = SUMMARY.replace("errors", "NULL")
COUNTS = SUMMARY.replace("errors, sketch", "NULL, x''")
"""Without types of errors, and without percentiles: less to decode."""

_ONE_MODEL = f"""{EXISTING_BUCKETS}
SELECT {{columns}} FROM found CROSS JOIN {{table}} ON bucket = start AND model = :model
"""
_EACH_MODEL = "SELECT {columns} FROM {table} WHERE bucket >= :start AND bucket < :end AND model > 0"


def read_window(connection: sqlite3.Connection, window: Window, models: Sequence[str]) -> WindowAnswer:
    """As `Queries.window`."""
    progress = _complete_progress(connection)
    window = progress.round(window)
    rows: dict[str, list[Row]] = {}
    for label, row in _read_models(connection, models, lambda model: _Reader(connection, progress, model).read(window)):
        rows.setdefault(label, []).append(row)
    return WindowAnswer(window, {label: combine(parts) for label, parts in rows.items()})


def read_series(connection: sqlite3.Connection, query: SeriesQuery) -> SeriesAnswer:
    """As `Queries.series`."""
    progress = _complete_progress(connection)
    step = query.step_minutes
    levels = [level for level in LEVELS if step % level == 0]
    kept_from = progress.kept_from[max(level for level in (LEVELS[0], HOUR, DAY) if level in levels)]
    earliest_us = -(-kept_from // step) * step * MINUTE_US
    window = Window(min(max(query.window.since_us, earliest_us), query.window.until_us), query.window.until_us)

    def read(model: int | None) -> Iterator[Row]:
        columns = SERIES if query.percentiles else COUNTS
        return _Reader(connection, progress, model, columns).read(window, levels)

    if query.models or query.by_model:
        parts = _read_models(connection, query.models, read)
    else:
        parts = ((ALL, row) for row in read(ALL_MODELS))
    points: dict[str, dict[int, list[Row]]] = {}
    for label, row in parts:
        steps = points.setdefault(label if query.by_model else ALL, {})
        steps.setdefault(row[0] // step * step, []).append(row)
    series = {label: {minute: combine(rows) for minute, rows in steps.items()} for label, steps in points.items()}
    return SeriesAnswer(window, series)


def _complete_progress(connection: sqlite3.Connection) -> Progress:
    progress = read_progress(connection)
    if not progress.is_complete:
        share = progress.older_id / progress.older_end_id
        raise NotBuiltError(f"statistics of the older rows are being made, {share:.0%} is done")
    return progress


def _read_models(
    connection: sqlite3.Connection, models: Sequence[str], read: Callable[[int | None], Iterable[Row]]
) -> Iterator[tuple[str, Row]]:
    """The parts of some models by their ids, or of all by their labels."""
    if not models or OVERFLOW_MODEL_ID in models:
        labels = dict(connection.execute("SELECT model, CASE WHEN labelled THEN model_id END FROM models"))
        for row in read(None):
            label = labels.get(row[1]) or OVERFLOW_MODEL_ID
            if not models or label == OVERFLOW_MODEL_ID:
                yield label, row
    for model_id in dict.fromkeys(models):
        found = connection.execute("SELECT model FROM models WHERE model_id = ?", (model_id,)).fetchone()
        for row in read(found[0]) if found else ():
            yield model_id, row


class _Reader:
    """One model, all together (`ALL_MODELS`) or each (None), in one state of the store."""

    def __init__(
        self, connection: sqlite3.Connection, progress: Progress, model: int | None, columns: str = SUMMARY
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._model = model
        self._columns = columns

    def read(self, window: Window, levels: Sequence[int] = LEVELS) -> Iterator[Row]:
        """All parts of the window, each record in exactly one of them."""
        since_us, until_us = window
        if since_us >= until_us:
            return
        start, end = -(-since_us // MINUTE_US), until_us // MINUTE_US
        yield from self._read_rows("id > ? AND +timestamp_us >= ? AND +timestamp_us < ?", since_us, until_us)
        if start > end:
            yield from self._read_edge(since_us, until_us)
            return
        yield from self._read_edge(since_us, start * MINUTE_US)
        for segment in self._progress.segments(start, end, levels):
            yield from self._read_segment(segment)
        yield from self._read_last_minute(end, until_us)

    def _read_segment(self, segment: Segment) -> Iterator[Row]:
        query = _EACH_MODEL if self._model is None else _ONE_MODEL
        yield from self._connection.execute(
            query.format(table=table(segment.level), columns=self._columns),
            {"start": segment.start, "end": segment.end, "model": self._model},
        )

    def _read_last_minute(self, minute: int, until_us: int) -> Iterator[Row]:
        """Before a moment: from the minute's rollup, if nothing in it is later."""
        if until_us == minute * MINUTE_US:
            return
        model = ALL_MODELS if self._model is None else self._model
        query = f"SELECT last_timestamp_us FROM {table(LEVELS[0])} WHERE bucket = ? AND model = ?"
        last = self._connection.execute(query, (minute, model)).fetchone()
        if last is not None and last[0] < until_us:
            yield from self._read_segment(Segment(LEVELS[0], minute, minute + 1))
        elif last is not None:
            yield from self._read_edge(minute * MINUTE_US, until_us)

    def _read_edge(self, since_us: int, until_us: int) -> Iterator[Row]:
        """A part of a minute, from the rows that are rolled up."""
        if since_us < until_us:
            yield from self._read_rows("+id <= ? AND timestamp_us >= ? AND timestamp_us < ?", since_us, until_us)

    def _read_rows(self, where: str, since_us: int, until_us: int) -> Iterator[Row]:
        arguments = [self._progress.last_id, since_us, until_us]
        if self._model is not None and self._model != ALL_MODELS:
            # Rows that wait are few: they are read as they stand in the file, not through an index.
            where += " AND model = ?" if where.startswith("+id") else " AND +model = ?"
            arguments.append(self._model)
        model = str(ALL_MODELS) if self._model == ALL_MODELS else "model"
        yield from summarize(self._connection, where, arguments, model)
