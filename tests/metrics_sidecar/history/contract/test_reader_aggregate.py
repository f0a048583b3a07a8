"""Sums over stretches of time and since the beginning: exactly those of the records."""

import msgspec
import pytest

from metrics_sidecar.history.aggregate import Ask, Measure, Table
from metrics_sidecar.history.queries import MAX_MATCHED_MODELS, TooManyModelsError
from metrics_sidecar.history.windows import DAY, MINUTE_US, Window
from shared.record import OVERFLOW_MODEL_ID, Record
from tests.metrics_sidecar.history.contract.arrivals import DAYS, END_US, FULLY, MODELS, START, Arrivals
from tests.metrics_sidecar.history.contract.conftest import OpenHistory
from tests.metrics_sidecar.history.contract.history import History
from tests.metrics_sidecar.tables import counts, rows_of

SUMMED: tuple[Measure, ...] = ("success_count", "failure_count", "latency_us", "input_size")


def live(history: History, arrivals: Arrivals, hours: int = DAYS * 24, restarts: bool = True) -> None:
    """Some days of records, tended to now and then, with a restart here and there."""
    random = arrivals.random
    for _ in range(hours // 2):
        history.add(arrivals.records(random.randrange(1, 30), minutes=120))
        for _ in range(random.randrange(12)):
            history.writer.tend(arrivals.now_us, busy=random.random() < 0.3)
        if restarts and random.random() < 0.1:
            history.reopen()


@pytest.mark.parametrize("seed", range(2))
async def test_a_window_is_exactly_its_records(open_history: OpenHistory, seed: int) -> None:
    """Of each label, of some models and of `__overflow__`; percentiles within 1 %."""
    history, arrivals = open_history(), Arrivals(seed)
    live(history, arrivals)
    for _ in range(120):
        question = arrivals.window()
        await history.check(question)


@pytest.mark.parametrize("seed", range(2))
async def test_a_series_is_the_window_of_each_step(open_history: OpenHistory, seed: int) -> None:
    """Whether steps make up an hour or not: together, of some models and of each, with and without percentiles."""
    history, arrivals = open_history(), Arrivals(10 + seed)
    live(history, arrivals)
    for _ in range(100):
        question = arrivals.series()
        await history.check(question)


@pytest.mark.parametrize("seed", range(2))
async def test_a_series_asked_for_again_has_what_came_since(open_history: OpenHistory, seed: int) -> None:
    """Of minutes long past, too; whether what is late is rolled up yet or not, and if the time is a bit another."""
    history, arrivals = open_history(), Arrivals(30 + seed)
    random = arrivals.random
    questions = [msgspec.structs.replace(arrivals.series(), step_minutes=step) for step in (1, 5, 30, 60) * 3]
    while arrivals.now_us < END_US - DAY * MINUTE_US:
        if random.random() < 0.3:
            history.add(arrivals.records(random.randrange(1, 4), minutes=30))
        else:
            arrivals.records(1, minutes=30)
            history.add([arrivals.record(arrivals.now_us) for _ in range(random.randrange(1, 10))])
        for _ in range(random.choice([0, 1, 3, 40])):
            history.writer.tend(arrivals.now_us, busy=False)
        for question in random.sample(questions, 3):
            step_us = question.step_minutes * MINUTE_US
            since_us = START * MINUTE_US + random.randrange(9) * step_us
            until_us = (arrivals.now_us // step_us + random.choice([1, 1, -50])) * step_us
            window = Window(since_us, max(until_us, since_us))
            asked = msgspec.structs.replace(question, window=window)
            await history.check(asked)


async def test_a_series_adds_up_to_its_window(open_history: OpenHistory) -> None:
    """Label by label."""
    history, arrivals = open_history(), Arrivals(20)
    live(history, arrivals, hours=30)
    window = Window((START - DAY) * MINUTE_US, END_US)
    expected = rows_of(await history.reader.aggregate(Ask(window=window, measures=SUMMED)))
    for step in (1, 7, 60, DAY):
        table = await history.reader.aggregate(Ask(window=window, step_minutes=step, measures=SUMMED))
        sums = {key: dict.fromkeys(SUMMED, 0) for key in expected}
        for (group, _), figures in rows_of(table).items():
            for measure in SUMMED:
                sums[group, 0][measure] += figures[measure]
        assert sums == expected


async def test_a_record_is_once_in_a_series_of_several(open_history: OpenHistory) -> None:
    """Where a model without a label is asked for beside the `__overflow__` that it is in."""
    history = open_history()
    history.add([Record(model_id, START * MINUTE_US, 1) for model_id in "abcdeaeff"], labels=2)
    window = Window(START * MINUTE_US, (START + 1) * MINUTE_US)
    models = ("a", "e", OVERFLOW_MODEL_ID)
    for query in (
        Ask(window=window, step_minutes=1, models=models, by=None),
        Ask(window=window, models=models, by=None, **FULLY),
        Ask(models=models, by=None),
    ):
        await history.check(query)


async def test_totals_are_all_that_ever_was(open_history: OpenHistory) -> None:
    """By label, and by true id or how it begins, with or without a label of its own; the same as the window of all
    time."""
    history, arrivals = open_history(), Arrivals(30)
    live(history, arrivals, hours=20)
    await history.check(Ask(errors=True))
    all_models = Ask(models=(*MODELS, "unknown", OVERFLOW_MODEL_ID))
    for question in (Ask(), Ask(by=None), all_models, *(arrivals.sums() for _ in range(30))):
        await history.check(question)
    everything = await history.reader.aggregate(Ask(window=Window(0, END_US)))
    assert counts(await history.reader.aggregate(Ask())) == counts(everything)


async def test_a_prefix_of_too_many_models_is_named(open_history: OpenHistory) -> None:
    """Where an answer would have something for each; as many as may be are answered."""
    history = open_history()
    moment_us, aggregate = START * MINUTE_US, history.reader.aggregate
    window = Window(moment_us, moment_us + MINUTE_US)
    history.add([Record(f"{'pq'[n % 2]}{n}", moment_us, 1) for n in range(2 * MAX_MATCHED_MODELS)])
    assert len((await aggregate(Ask(prefixes=("p",)))).groups) == MAX_MATCHED_MODELS
    history.add([Record("p", moment_us, 1)])
    assert len((await aggregate(Ask(prefixes=("q", "x")))).groups) == MAX_MATCHED_MODELS
    for asked in (
        Ask(prefixes=("x", "p")),
        Ask(window=window, prefixes=("p",)),
        Ask(window=window, step_minutes=1, prefixes=("p",)),
    ):
        with pytest.raises(TooManyModelsError, match=r"^p$"):
            await aggregate(asked)


async def is_empty(history: History, ask: Ask) -> bool:
    table = await history.check(ask)
    return isinstance(table, Table) and (table.window, table.groups) == (ask.window, [])


async def test_a_window_of_nothing_is_empty(open_history: OpenHistory) -> None:
    """Before and after all records, of no length, and of models that there are none of."""
    history, arrivals = open_history(), Arrivals(40)
    live(history, arrivals, hours=10)
    moment_us = arrivals.now_us
    for window, models in (
        (Window(0, START * MINUTE_US), ()),
        (Window(END_US, END_US + DAY * MINUTE_US), ()),
        (Window(moment_us, moment_us), ("a", OVERFLOW_MODEL_ID)),
        (Window(0, END_US), ("unknown",)),
    ):
        assert await is_empty(history, Ask(window=window, models=models, **FULLY))
    minutes = Window(0, START * MINUTE_US)
    for query in (
        Ask(window=Window(0, END_US), prefixes=("unknown", "%")),
        Ask(window=minutes, step_minutes=1, by=None),
        Ask(window=Window(0, END_US), step_minutes=DAY, models=("unknown",)),
        Ask(models=("unknown",), by=None),
    ):
        assert await is_empty(history, query)


async def test_percentiles_are_those_of_few_and_of_many(open_history: OpenHistory) -> None:
    """Of 1 to 101 latencies that are far apart, so that each rank is another value: before tending as after."""
    history, arrivals = open_history(), Arrivals(50)
    for count in (1, 2, 3, 10, 19, 20, 21, 99, 100, 101):
        moment_us = (START + count) * MINUTE_US
        records = [arrivals.record(moment_us, latency_us=1_000_000 * (1 + n)) for n in range(count)]
        arrivals.random.shuffle(records)
        history.add(records)
    windows = [Window((START + n) * MINUTE_US, (START + n + 1) * MINUTE_US) for n in (1, 2, 3, 10, 19, 20, 21, 99, 100)]
    for now_us in (0, END_US):
        history.tend(now_us)
        for window in windows:
            for percent in (1, 33, 50, 90, 95, 99, 100):
                query = Ask(window=window, step_minutes=1, by=None, percents=(percent,))
                await history.check(query)
