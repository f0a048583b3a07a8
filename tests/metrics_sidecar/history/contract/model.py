"""A history in plain Python: what was committed, and what must be found in it, by looking at each record."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from metrics_sidecar.history.aggregate import ADDED_UP, ALL, Ask, Measure, Table
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, HistoryRow, Order, Position, Term
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from metrics_sidecar.ledger.totals import ModelTotals, aggregate
from metrics_sidecar.ledger.transaction import Commit, Gap, Producer, State
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID, Record

WITHIN = 0.01 + 1e-9
"""Of a percentile's value, and what floats are inexact by."""

Key = tuple[int, int]
"""Timestamp and mark of a record: its place in the history."""


class Page(NamedTuple):
    """A page, with the place of its last row where there is a next one."""

    records: list[Record]
    total_count: int
    is_exact: bool
    next: Key | None


Question = HistoryQuery | Ask
Answer = Page | Table


class Model:
    """All records in the order of their commits. Each has a mark, its number in this order from 0 on, which it carries
    as its input size. `rows_from_us`: older rows are gone."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.labels: dict[str, str] = {}
        self.gaps: list[Gap] = []
        self.retired: list[Producer] = []
        self.rows_from_us = 0
        self._state = State()
        self._marks: dict[str, int] = {}

    def apply(self, commit: Commit) -> list[str]:
        """Count it; the models that get a label."""
        granted: list[str] = []
        for model_id in dict.fromkeys(record.model_id for record in commit.records):
            if model_id not in self.labels:
                has_label = len(granted) < commit.label_room
                label = self.labels[model_id] = model_id if has_label else OVERFLOW_MODEL_ID
                began_us = self._state.created_us.get(label, commit.now_us)
                self._state.created_us[label] = min(began_us, commit.now_us)
                granted += [model_id] if has_label else []
        self.records += commit.records
        self.gaps += commit.gaps
        self.retired += commit.retired
        self._state.number = commit.number
        for producer_id, producer in commit.producers.items():
            self._state.producers.pop(producer_id, None)
            if producer is not None:
                self._state.producers[producer_id] = producer
        for name, values in commit.counters.items():
            mine = self._state.counters.setdefault(name, {})
            for label, value in values.items():
                mine[label] = min(mine.get(label, 0) + value, MAX_COUNT)
        return granted

    @property
    def label_count(self) -> int:
        return len(set(self.labels.values()) - {OVERFLOW_MODEL_ID})

    def state(self) -> State:
        missing_count = sum(gap.count for gap in self.gaps)
        return dataclasses.replace(self._state, totals=self.totals(), missing_count=missing_count)

    def totals(self, models: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, ModelTotals]:
        """By label without any of either."""
        return aggregate(
            msgspec.structs.replace(record, model_id=name)
            for record in self.records
            for name in self._names(record.model_id, models, prefixes)
        )

    def rows(self, wanted: HistoryFilter | None = None) -> list[Record]:
        """Those that match and are still there, in the order of their commits."""
        kept = (record for record in self.records if record.timestamp_us >= self.rows_from_us)
        return [record for record in kept if wanted is None or matches(wanted, record)]

    def note_ids(self, rows: Iterable[HistoryRow]) -> None:
        """Whose ids these are: an id names one record, whenever it is seen."""
        for row in rows:
            mark = self._marks.setdefault(row.id, row.input_size)
            assert row.input_size == mark, f"{row.id} has been another row's"

    def mark(self, row_id: str) -> int:
        """Of the row of an id that was noted."""
        return self._marks[row_id]

    def place(self, position: Position) -> Key:
        """Where a position is, if its id was noted."""
        return position.timestamp_us, self._marks[position.id]

    def answer(self, question: Question, found: Answer) -> Answer:
        """The right one; like what was found wherever more than one is right."""
        match question, found:
            case HistoryQuery(), Page():
                return self._page(question, found)
            case Ask(), Table():
                return self._table(question, found)
        raise AssertionError("no answer to this question")

    def _page(self, query: HistoryQuery, found: Page) -> Page:
        matching = in_order(self.rows(query.filter), query.order)
        total = len(matching)
        if not found.is_exact:  # then there are at least so many
            total = min(found.total_count, total)
        after = None if query.after is None else self.place(query.after)
        if after is not None:
            newest_first = query.order == "desc"
            matching = [one for one in matching if (key(one) < after if newest_first else key(one) > after)]
        records = matching[query.offset : query.offset + query.limit]
        goes_on = len(matching) > query.offset + query.limit
        return Page(records, total, found.is_exact, key(records[-1]) if goes_on else None)

    def _table(self, ask: Ask, found: Table) -> Table:
        window = ask.window
        if window is not None and found.window is not None:
            window = self._told(window, found.window, ask.step_minutes)
        step_us = ask.step_minutes * MINUTE_US
        by_key: dict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in self.records:
            if window is None or window.since_us <= record.timestamp_us < window.until_us:
                minute = record.timestamp_us // step_us * ask.step_minutes if step_us else 0
                names = self._names(record.model_id, ask.models, ask.prefixes)
                for name in names if ask.by or not names else {ALL}:
                    by_key[name, minute].append(record)
        order = {key: row for row, key in enumerate(zip(found.groups, found.minutes, strict=True))}
        keys = sorted(by_key, key=lambda key: (key[1], order.get(key, len(order))))
        return to_table(ask, window, {key: by_key[key] for key in keys}, found, order)

    def _told(self, asked: Window, told: Window, step_minutes: int) -> Window:
        """The window of the answer, where it may be another one."""
        if not step_minutes:
            return told if self._is_rounded(asked, told) else asked
        step_us = step_minutes * MINUTE_US
        if asked.since_us < told.since_us <= self.rows_from_us + step_us and not told.since_us % step_us:
            return Window(told.since_us, asked.until_us)  # of what is gone smaller steps may not be known any more
        return asked

    def _is_rounded(self, asked: Window, told: Window) -> bool:
        """Ends among rows that are gone may be moved outwards, by less than a day; no others."""
        day_us = DAY * MINUTE_US
        moved_us = asked.since_us - told.since_us, told.until_us - asked.until_us
        return all(
            0 <= moved < (day_us if end < self.rows_from_us else 1) for end, moved in zip(asked, moved_us, strict=True)
        )

    def _names(self, model_id: str, models: Sequence[str], prefixes: Sequence[str]) -> set[str]:
        """Under which names a model is counted where these are asked for."""
        label = self.labels[model_id]
        if not (models or prefixes):
            return {label}
        names = {label} & {OVERFLOW_MODEL_ID} & {*models}
        if model_id in models or any(map(model_id.startswith, prefixes)):
            names.add(model_id)
        return names


def key(record: Record) -> Key:
    return record.timestamp_us, record.input_size


def in_order(records: Iterable[Record], order: Order) -> list[Record]:
    return sorted(records, key=key, reverse=order == "desc")


def as_record(row: HistoryRow) -> Record:
    return Record(*(getattr(row, name) for name in Record.__struct_fields__))


def matches(wanted: HistoryFilter, record: Record) -> bool:
    named = record.model_id in wanted.models or any(map(record.model_id.startswith, wanted.prefixes))
    return (
        (named or not (wanted.models or wanted.prefixes))
        and wanted.status in (None, "success" if record.success else "failure")
        and (not wanted.error_types or record.error_type in wanted.error_types)
        and (wanted.since_us is None or record.timestamp_us >= wanted.since_us)
        and (wanted.until_us is None or record.timestamp_us < wanted.until_us)
        and all(fulfils(record, term) for term in wanted.terms)
    )


def fulfils(record: Record, term: Term) -> bool:
    found: Any = getattr(record, term.field)
    value: Any = term.value
    match term.is_:
        case "equal":
            return bool(found == value)
        case "least":
            return bool(found >= value)
        case "most":
            return bool(found <= value)
        case "has":
            name, _, text = value.partition("=")
            return bool(found) and found.get(name) == text
    return value in found


def to_table(
    ask: Ask,
    window: Window | None,
    groups: Mapping[tuple[str, int], Sequence[Record]],
    like: Table,
    order: Mapping[tuple[str, int], int],
) -> Table:
    """Of these records, at least one in each group; percentiles as in `like`, whose rows are in this order, where they
    are right."""
    sums = [to_sums(records) for records in groups.values()]
    percentiles_us: dict[Measure, dict[int, list[float | None]]] = {}
    for spread in ask.spreads if ask.percents else ():
        found = percentiles_us[spread] = {}
        for percent in ask.percents:
            column = like.percentiles_us.get(spread, {}).get(percent, [])
            found[percent] = [
                percentile_us(records, spread, percent, column[order[key]] if key in order else None)
                for key, records in groups.items()
            ]
    return Table(
        window=window,
        groups=[group for group, _ in groups],
        minutes=[minute for _, minute in groups],
        sums={measure: [row[measure] for row in sums] for measure in ask.measures},
        percentiles_us=percentiles_us,
        errors=[errors_of(records) for records in groups.values()] if ask.errors else [],
    )


def to_sums(records: Sequence[Record]) -> dict[Measure, int]:
    latencies_us = [record.latency_us for record in records]
    failure_count = sum(not record.success for record in records)
    return {
        "success_count": len(records) - failure_count,
        "failure_count": failure_count,
        "latency_us": min(sum(latencies_us), MAX_COUNT),
        "min_latency_us": min(latencies_us),
        "max_latency_us": max(latencies_us),
        "last_timestamp_us": max(record.timestamp_us for record in records),
        **{name: min(sum(getattr(record, name) or 0 for record in records), MAX_COUNT) for name in ADDED_UP},
        "usage_missing": sum(map(tells_no_usage, records)),
    }


def tells_no_usage(record: Record) -> bool:
    tokens = (record.input_tokens, record.output_tokens)
    metered = ("chat", "completions", "embeddings", "responses", "messages")
    return record.success and record.operation in metered and tokens == (None, None)


def errors_of(records: Iterable[Record]) -> dict[str, int]:
    return dict(Counter(str(record.error_type) for record in records if not record.success))


def percentile_us(records: Sequence[Record], spread: Measure, percent: int, like: float | None) -> float | None:
    """The smallest of the times that so many don't exceed; or what is so much like it that it will do, too. None of
    none."""
    ascending = sorted(time_us for record in records if (time_us := getattr(record, spread)) is not None)
    if not ascending:
        return None
    exact = ascending[math.ceil(len(ascending) * percent / 100) - 1]
    return like if like is not None and abs(like - exact) <= exact * WITHIN else exact
