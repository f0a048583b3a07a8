"""The parts of a stretch of time: whole minutes from the rollups, the rest from rows; each record in exactly one."""

import functools
import itertools
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from metrics_sidecar.history.rollups import (
    ALL_MODELS,
    COLUMNS,
    LEVELS,
    MINUTE_US,
    Numbers,
    Row,
    Segment,
    Summary,
    add_errors,
    add_up,
)
from metrics_sidecar.history.sketch import merge
from metrics_sidecar.history.windows import Window
from metrics_sidecar.sqlite.rollups import Condition, Progress, Table
from metrics_sidecar.sqlite.summaries import COUNTS, FULL, Detail, summarize
from shared.record import MAX_COUNT

MAX_LISTED_BLOCKS = 20_000
FEW_MINUTES = 4
"""To read the rows that wait once for each takes no longer than to sort them."""

_integers = msgspec.json.Decoder(list[int])

_OF_ONE = """
SELECT {columns} FROM json_each(:blocks) AS blocks CROSS JOIN {table.name}
ON {table.block} = blocks.value AND model = :models WHERE bucket >= :start AND bucket < :end
"""
_OF_SOME = """
SELECT {columns} FROM json_each(:blocks) AS blocks CROSS JOIN json_each(:models) AS models
CROSS JOIN {table.name} ON {table.block} = blocks.value AND model = models.value
WHERE bucket >= :start AND bucket < :end
"""
_WAITING_WITHIN = "+timestamp_us >= ? AND +timestamp_us < ?"  # as they stand in the file: an index has many others
_NUMBERS = ", ".join(COLUMNS[2:-2])
_HALVES = "SUM({0} >> 32), SUM({0} & 0xFFFFFFFF)"  # SQLite's own sum would overflow
_ADD_UP = f"""
SELECT model, SUM(success_count), SUM(failure_count), {_HALVES.format("latency_us")}, MIN(min_latency_us),
    MAX(max_latency_us), MAX(last_timestamp_us), {_HALVES.format("input_size")}, {_HALVES.format("output_size")}
FROM ({{parts}}) GROUP BY model
"""


class Parts:
    """Of a window, and of some models by their numbers (of all together: `ALL_MODELS`), or of each there is (None)."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        progress: Progress,
        window: Window,
        models: Sequence[int] | None,
        *,
        detail: Detail = FULL,
        by_minute: bool = True,
    ) -> None:
        """Not `by_minute`: of rows it doesn't matter from which minute they are."""
        self._connection = connection
        self._progress = progress
        self._window = window
        self._models = models
        self._detail = detail
        self._minute = f"timestamp_us / {MINUTE_US}" if by_minute else "0"

    def read(self, levels: Sequence[int] = LEVELS) -> Iterator[Row]:
        """All of them."""
        yield from self.read_rows()
        for segment in self.segments(levels):
            yield from self._read_segment(segment)

    def segments(self, levels: Sequence[int] = LEVELS) -> list[Segment]:
        """The buckets among them."""
        start, end = self._whole_minutes
        return [] if start > end else self._progress.segments(start, end, levels)

    def signed_segments(self) -> list[tuple[int, Segment]]:
        """The same minutes in fewer buckets, of which some are to be subtracted."""
        start, end = self._whole_minutes
        return [] if start >= end else self._progress.signed_segments(start, end)

    def read_rows(self) -> Iterator[Row]:
        """The rows among them, added up."""
        since_us, until_us = self._window
        if since_us >= until_us or self._models == []:
            return
        waiting = self._progress.waiting(together=self._is_together)
        for stretch in self._stretches(waiting):
            yield from self._summarize(waiting, _WAITING_WITHIN, stretch)
        start, end = self._whole_minutes
        edges = [(since_us, until_us)] if start > end else [(since_us, start * MINUTE_US), (end * MINUTE_US, until_us)]
        rolled_up = self._progress.rolled_up(together=self._is_together)
        for edge in edges:
            if edge[0] < edge[1]:
                yield from self._summarize(rolled_up, "timestamp_us >= ? AND timestamp_us < ?", edge)

    def _stretches(self, waiting: Condition) -> Iterator[Window]:
        """In which to add up the rows that wait. Those of all models together are thousands, but of few minutes."""
        if not self._is_together:
            yield self._window
            return
        where, arguments = waiting
        query = f"SELECT MIN(timestamp_us), MAX(timestamp_us) FROM invocations WHERE {where} AND {_WAITING_WITHIN}"
        first_us, last_us = self._connection.execute(query, (*arguments, *self._window)).fetchone()
        if first_us is None:
            return
        minutes = range(first_us // MINUTE_US, last_us // MINUTE_US + 1)
        if len(minutes) > FEW_MINUTES:
            yield self._window
            return
        since_us, until_us = self._window
        for minute in minutes:
            yield Window(max(since_us, minute * MINUTE_US), min(until_us, (minute + 1) * MINUTE_US))

    @property
    def _is_together(self) -> bool:
        return self._models == [ALL_MODELS]

    @functools.cached_property
    def _whole_minutes(self) -> tuple[int, int]:
        """The first and the one after the last; that in which the window ends counts, if nothing in it is later."""
        since_us, until_us = self._window
        start, end = -(-since_us // MINUTE_US), until_us // MINUTE_US
        if start <= end and end * MINUTE_US < until_us and self._last_us(end) < until_us:
            end += 1
        return start, end

    def _last_us(self, minute: int) -> int:
        """When the last of what is rolled up of a minute was accepted; 0 for nothing."""
        models, arguments = self._condition("model")
        table = Table(LEVELS[0])
        query = f"""SELECT COALESCE(MAX(last_timestamp_us), 0) FROM {table.name}
        WHERE {table.block} = ? AND bucket = ? AND {models}"""
        last_us: int = self._connection.execute(query, (table.block_of(minute), minute, *arguments)).fetchone()[0]
        return last_us

    def _read_segment(self, segment: Segment) -> Iterator[Row]:
        table, columns = Table(segment.level), self._detail.columns
        bounds = table.bounds(segment)
        if self._models is None:
            yield from self._connection.execute(_of_each(table, columns), bounds)
            return
        listed = table.list_blocks(self._connection, segment, MAX_LISTED_BLOCKS)
        query = _OF_SOME
        models: str | int = json.dumps(self._models)
        if len(self._models) == 1:  # a series is mostly of one; its buckets are found a fifth sooner so
            query, models = _OF_ONE, self._models[0]
        arguments = {**bounds, "blocks": listed, "models": models}
        if self._detail is COUNTS:  # as arrays, one of each column, they come in two thirds of the time
            columns = ", ".join(f"json_group_array({column})" for column in columns.split(", "))
            arrays = self._connection.execute(query.format(table=table, columns=columns), arguments).fetchone()
            yield from zip(*map(_integers.decode, arrays), strict=True)
            return
        yield from self._connection.execute(query.format(table=table, columns=columns), arguments)

    def _summarize(self, which: Condition, time: str, bounds: tuple[int, int]) -> Iterator[Row]:
        where, arguments = f"{which[0]} AND {time}", [*which[1], *bounds]
        if self._models is not None and not self._is_together:
            models, more = self._condition("+model" if time == _WAITING_WITHIN else "model")
            where, arguments = f"{where} AND {models}", [*arguments, *more]
        model = str(ALL_MODELS) if self._is_together else "model"
        first, last = bounds[0] // MINUTE_US, (bounds[1] - 1) // MINUTE_US
        minute = str(first) if first == last else self._minute
        return summarize(self._connection, where, arguments, self._detail, model, minute)

    def _condition(self, column: str) -> Condition:
        if self._models is None:
            return f"{column} > 0", ()
        return f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(self._models),)


def _of_each(table: Table, columns: str, mark: str = "") -> str:
    return f"SELECT {columns} FROM {table.name} WHERE {table.within(mark)} AND model > 0"


_Distributions = tuple[int, bytes | None, bytes]
"""Of a model: errors and latencies, as in a `Row`."""


class EachModel:
    """The same of each model there is: tens of thousands of buckets, so SQLite adds up what it can."""

    def __init__(self, connection: sqlite3.Connection, progress: Progress, window: Window) -> None:
        self._connection = connection
        self._parts = Parts(connection, progress, window, None, by_minute=False)

    def sums(self, names: Mapping[int, str]) -> Iterator[tuple[str, Summary]]:
        """With their names, of the models that have one. (One by one: all of them don't fit a processor's cache.)"""
        numbers: dict[str, list[Numbers]] = defaultdict(list)
        rows = [*self._parts.read_rows()]
        found = itertools.chain(
            ((row[1], row[2:10]) for row in rows),
            self._add_up(self._parts.segments()),
        )
        for model, one in found:
            if model in names:
                numbers[names[model]].append(one)
        segments = self._parts.signed_segments()
        errors, sketches = _collect(
            names,
            ((row[1], *row[10:]) for row in rows),
            *(self._read_distributions(segment) for sign, segment in segments if sign > 0),
        )
        less_errors, less_sketches = _collect(
            names, *(self._read_distributions(segment) for sign, segment in segments if sign < 0)
        )
        for name, some in numbers.items():
            yield (
                name,
                Summary(
                    *add_up(some),
                    add_errors(errors.pop(name, ()), less_errors.pop(name, ())),
                    merge(sketches.pop(name, ()), less_sketches.pop(name, ())),
                ),
            )

    def _read_distributions(self, segment: Segment) -> Iterator[_Distributions]:
        table = Table(segment.level)
        return self._connection.execute(_of_each(table, "model, errors, sketch"), table.bounds(segment))

    def _add_up(self, segments: Sequence[Segment]) -> Iterator[tuple[int, Numbers]]:
        if not segments:
            return
        parts: list[str] = []
        bounds: dict[str, int] = {}
        for number, segment in enumerate(segments):
            table = Table(segment.level)
            parts.append(_of_each(table, f"model, {_NUMBERS}", f"_{number}"))
            bounds |= table.bounds(segment, f"_{number}")
        for (
            model,
            success,
            failure,
            *latency,
            minimum,
            maximum,
            last,
            in_high,
            in_low,
            out_high,
            out_low,
        ) in self._connection.execute(_ADD_UP.format(parts=" UNION ALL ".join(parts)), bounds):
            yield (
                model,
                (
                    success,
                    failure,
                    _whole(*latency),
                    minimum,
                    maximum,
                    last,
                    _whole(in_high, in_low),
                    _whole(out_high, out_low),
                ),
            )


def _collect(
    names: Mapping[int, str], *found: Iterable[_Distributions]
) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
    """Errors and sketches by name."""
    errors: dict[str, list[bytes]] = defaultdict(list)
    sketches: dict[str, list[bytes]] = defaultdict(list)
    for model, encoded, sketch in itertools.chain.from_iterable(found):
        name = names.get(model)
        if name is not None:
            sketches[name].append(sketch)
            if encoded is not None:
                errors[name].append(encoded)
    return errors, sketches


def _whole(high: int, low: int) -> int:
    return min((high << 32) + low, MAX_COUNT)
