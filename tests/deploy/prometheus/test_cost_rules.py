"""An alert on what a model costs in an hour, beside what its dearest hours of the week cost."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.prometheus.rules import Case, Labels, Values, check, metric, steps
from tests.deploy.prometheus.rules import without as without_samples

pytestmark = pytest.mark.timeout(600)  # weeks of series, on a machine that may be busy

STEP_S = 1800
HOUR = 60.0
DAY = 24 * HOUR
A: Labels = {"model_id": "a", "severity": "ticket"}
Series = dict[str, Values]


def spent(*parts: tuple[float, float], model: str = "a", instance: str = "one", start: float = 0.0) -> Series:
    """What a model has cost, through phases of (dollars per hour, hours)."""
    values: list[float | None] = []
    total = start
    for dollars, hours in parts:
        for _ in range(steps(hours * HOUR, STEP_S)):
            values.append(round(total, 6))
            total += dollars * STEP_S / 3600
    labels = {"job": "metrics-sidecar", "instance": instance, "model_id": model}
    return {metric("model_cost_usd_total", **labels): values}


def days(*dollars_by_hour: float, count: int = 5) -> list[tuple[float, float]]:
    """The same day again and again: dollars of each of its hours."""
    return [(dollars, 24 / len(dollars_by_hour)) for _ in range(count) for dollars in dollars_by_hour]


def without(series: Mapping[str, Values], from_minute: float, to_minute: float) -> Series:
    return {name: without_samples(values, from_minute, to_minute, STEP_S) for name, values in series.items()}


def later(series: Mapping[str, Values], minutes: float) -> Series:
    return {name: [*[None] * steps(minutes, STEP_S), *values] for name, values in series.items()}


def put_back(dollars: float, at_hour: int, lost: float, hours: int) -> Series:
    """A ledger that is put back from a backup: what was spent last is gone from it."""
    ((name, values),) = spent((dollars, hours), start=5000).items()
    cut = steps(at_hour * HOUR, STEP_S)
    return {name: [*values[:cut], *(None if value is None else value - lost for value in values[cut:])]}


NIGHT, WORK = [1.0] * 16, [40.0] * 8
JOB = [0.0] * 3 + [60.0] + [0.0] * 20
FIVE_DAYS = 5 * DAY


def test_cost_high(tmp_path: Path) -> None:
    """Twice what the dearest hours of the week cost, and more than 5 dollars, for 10 minutes."""
    tripled = spent((10, 5 * 24), (30, 12))
    cases = [
        Case(
            "fires",
            tripled,
            {FIVE_DAYS: [], FIVE_DAYS + 30: [], FIVE_DAYS + 120: [A]},
            {
                "summary": "a costs far more than usual",
                "description": (
                    "a has cost 30.00 dollars within an hour; its dearest hours of the last week cost 10.00."
                ),
            },
        ),
        Case("goes on for a day", spent((10, 5 * 24), (30, 30)), {FIVE_DAYS + 24 * HOUR: [A]}),
        Case(
            "ends with its cause",
            spent((10, 5 * 24), (30, 3), (10, 12)),
            {FIVE_DAYS + 2 * HOUR: [A], FIVE_DAYS + 4 * HOUR: []},
        ),
        Case("not at the edge", spent((10, 5 * 24), (20, 12)), {FIVE_DAYS + 2 * HOUR: [], FIVE_DAYS + 11 * HOUR: []}),
        Case(
            "not below the floor",
            spent((0.5, 5 * 24), (4.9, 12)),
            {FIVE_DAYS + 2 * HOUR: [], FIVE_DAYS + 11 * HOUR: []},
        ),
        Case("above the floor", spent((0.5, 5 * 24), (5.2, 12)), {FIVE_DAYS + 2 * HOUR: [A]}),
        Case("no cost, ever", spent((0, 6 * 24)), {9 * DAY: []}),
        Case(
            "nights and days that differ",
            spent(*days(*NIGHT, *WORK, count=8)),
            {hour * HOUR: [] for hour in range(3 * 24, 8 * 24)},
        ),
        Case(
            "a job each night",
            spent(*days(*JOB, count=8)),
            {minute: [] for minute in range(3 * 24 * 60, 8 * 24 * 60, 30)},
        ),
        Case(
            "a job that costs five times as much",
            spent(*days(*JOB), *days(*(5 * dollars for dollars in JOB), count=1)),
            {FIVE_DAYS + 3 * HOUR: [], FIVE_DAYS + 4 * HOUR: [A]},
        ),
        Case(
            "an earlier mistake hides none",
            spent((10, 4 * 24), (90, 3), (10, 2 * 24 - 3), (30, 12)),
            {4 * DAY + 2 * HOUR: [A], 6 * DAY: [], 6 * DAY + 2 * HOUR: [A]},
        ),
        Case("one among many", {**spent((10, 6 * 24), model="b"), **tripled}, {FIVE_DAYS + 2 * HOUR: [A]}),
        Case(
            "two replicas, twice as much together",
            {**spent((10, 6 * 24)), **spent((10, 5 * 24), (30, 24), instance="two")},
            {FIVE_DAYS + 5 * HOUR: []},
        ),
        Case(
            "two replicas, three times as much together",
            {**spent((10, 6 * 24)), **spent((10, 5 * 24), (51, 24), instance="two")},
            {FIVE_DAYS + 5 * HOUR: [A]},
        ),
    ]
    check("ModelCostHigh", cases, tmp_path, STEP_S)


def test_nothing_is_spent_by_a_restart(tmp_path: Path) -> None:
    """Nor by a gap, a model that is new, or a Prometheus that is; and an alert that is true outlives them."""
    week: dict[float, list[Labels]] = {minute: [] for minute in range(0, 7 * 24 * 60, 30)}
    tripled = spent((10, 5 * 24), (30, 24))
    cases = [
        Case("a new model", later(spent((50, 2.9 * 24)), 4 * DAY), week),
        Case("a model tried out for an hour, and in earnest days later", spent((1, 1), (0, 5 * 24), (50, 24)), week),
        Case("a new Prometheus: all of it was before", spent((10, 7 * 24), start=90_000), week),
        Case("a sidecar that starts anew", without(spent((10, 6 * 24)), FIVE_DAYS, FIVE_DAYS + 30), week),
        *(
            Case(
                f"a sidecar that was away for {hours} h",
                without(spent((10, 7 * 24)), FIVE_DAYS, FIVE_DAYS + hours * HOUR),
                week,
            )
            for hours in (1, 2, 6)
        ),
        Case(
            "a ledger that is put back, and another sidecar's model that costs more",
            {**put_back(10, 5 * 24 + 3, 100, 6 * 24), **spent((10, 5 * 24), (51, 24), instance="two")},
            {FIVE_DAYS + 3 * HOUR: [A], FIVE_DAYS + 3.5 * HOUR: [A], FIVE_DAYS + 5 * HOUR: [A]},
        ),
        Case("a ledger that is put back", put_back(10, 5 * 24, 100, 6 * 24), week),
        Case(
            "another name of the instance",
            {**spent((10, 5 * 24)), **later(spent((10, 24), instance="two", start=1200), FIVE_DAYS)},
            week,
        ),
        Case(
            "a Prometheus that was off for a day",
            without(tripled, 3 * DAY, 4 * DAY),
            {FIVE_DAYS: [], FIVE_DAYS + 120: [A]},
        ),
        Case(
            "a gap in it",
            without(tripled, FIVE_DAYS + 180, FIVE_DAYS + 210),
            {FIVE_DAYS + 150: [A], FIVE_DAYS + 270: [A]},
        ),
    ]
    check("ModelCostHigh", cases, tmp_path, STEP_S)
