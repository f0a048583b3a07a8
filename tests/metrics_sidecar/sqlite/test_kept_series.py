"""What of a series isn't read again. That it is the same as if it were is in `contract`."""

import contextlib
import sqlite3
from pathlib import Path
from random import Random

import msgspec

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.rollups import HOUR, LEVELS, MINUTE_US
from metrics_sidecar.history.windows import ALL, Series, SeriesAnswer, SeriesQuery, Step, Window
from metrics_sidecar.sqlite.kept_series import KEPT_STEPS, KeptSeries
from metrics_sidecar.sqlite.rollups import Progress, Table
from metrics_sidecar.sqlite.windows import read_series
from tests.metrics_sidecar.sqlite.test_rollups import START, History, make_record, reading

END = START + 6 * HOUR
QUERY = SeriesQuery(window=Window(START * MINUTE_US, END * MINUTE_US), step_minutes=1, percent=95)
NOTHING_KEPT = Kept(0, 0, 0, 0)


def progress(settled: int = END, late_count: int = 0) -> Progress:
    return Progress(0, 0, 0, 0, 0, {}, NOTHING_KEPT, settled, late_count)


def first_minutes(count: int, model: str = "") -> SeriesQuery:
    return msgspec.structs.replace(QUERY, models=(model,), window=Window(0, count * MINUTE_US))


def answer(count: int) -> Series:
    return {ALL: [Step(minute, 1, 0, 1, 1.0) for minute in range(count)]}


def test_what_is_settled_is_not_read_again_until_something_is_added(tmp_path: Path) -> None:
    """The last hour always is."""
    history, random, kept = History(tmp_path / "history.db"), Random(1), KeptSeries()
    history.commit([make_record(random, minute) for minute in range(START, END)])
    roll_up(history)
    before = ask(history.path, kept)
    with contextlib.closing(sqlite3.connect(history.path)) as connection, connection:
        for level in LEVELS:
            connection.execute(f"UPDATE {Table(level).name} SET success_count = success_count + 1")
    now = ask(history.path, KeptSeries())
    found = ask(history.path, kept)
    assert len(now.series[ALL]) == END - START
    assert {step.minute for step in found.series[ALL] if step in before.series[ALL]} == {*range(START, END - HOUR)}
    assert found.series[ALL][-HOUR:] == now.series[ALL][-HOUR:]

    history.commit([make_record(random, START)])
    assert ask(history.path, kept) == ask(history.path, KeptSeries())
    roll_up(history)
    assert ask(history.path, kept) == ask(history.path, KeptSeries())
    history.store.close()


def test_what_was_asked_for_last_is_kept() -> None:
    """As many steps as there may be."""
    kept, minutes = KeptSeries(), KEPT_STEPS // 4 - 2  # beside each model, and what was asked for
    queries = [first_minutes(minutes, model) for model in "abcde"]
    for query in queries[:4]:
        kept.keep(query, answer(minutes), progress())
    assert kept.find(queries[0], progress()) == (answer(minutes), minutes * MINUTE_US)
    kept.keep(queries[4], answer(minutes), progress())
    assert [kept.find(query, progress())[1] > 0 for query in queries] == [True, False, True, True, True]


def test_what_is_kept_is_bounded_whatever_is_asked_for() -> None:
    """Models that there are none of, one after the other, or many at once."""
    kept = KeptSeries()
    first, *others = (first_minutes(HOUR, f"unknown-{number}") for number in range(KEPT_STEPS // 2 + 1))
    kept.keep(first, {}, progress())
    assert kept.find(first, progress()) == ({}, HOUR * MINUTE_US)
    for query in others:
        kept.keep(query, {}, progress())
    assert kept.find(first, progress()) == ({}, 0)
    assert kept.find(others[-1], progress()) == ({}, HOUR * MINUTE_US)
    many = msgspec.structs.replace(first, models=tuple(str(number) for number in range(KEPT_STEPS)))
    kept.keep(many, {}, progress())
    assert kept.find(many, progress()) == ({}, 0)


def test_an_hour_is_kept_beside_a_day() -> None:
    """And an answer that is too long is not, and no other goes for it."""
    kept, lengths = KeptSeries(), (6 * HOUR, HOUR, KEPT_STEPS + 1)
    for minutes in lengths:
        kept.keep(first_minutes(minutes), answer(minutes), progress())
    assert [kept.find(first_minutes(minutes), progress()) for minutes in lengths] == [
        (answer(6 * HOUR), 6 * HOUR * MINUTE_US),
        (answer(HOUR), HOUR * MINUTE_US),
        ({}, 0),
    ]


def test_steps_are_kept_whole() -> None:
    """Of one that isn't over nothing is."""
    kept, query = KeptSeries(), msgspec.structs.replace(first_minutes(2 * HOUR), step_minutes=HOUR)
    hours = [Step(minute, 1, 0, 1, 1.0) for minute in (0, HOUR)]
    kept.keep(query, {ALL: hours}, progress(settled=2 * HOUR - 1))
    assert kept.find(query, progress()) == ({ALL: hours[:1]}, HOUR * MINUTE_US)
    assert kept.find(query, progress(late_count=1)) == ({}, 0)


def roll_up(history: History) -> None:
    """All there is."""
    for minute in (END - 2, END):
        while history.store.tend(minute * MINUTE_US):
            pass


def ask(path: Path, kept: KeptSeries) -> SeriesAnswer:
    with reading(path) as connection:
        return read_series(connection, QUERY, kept)
