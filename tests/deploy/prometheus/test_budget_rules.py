"""Alerts on a model's error budget: 99 % of its invocations succeed."""

from pathlib import Path

import pytest

from tests.deploy.prometheus.rules import Case, Labels, Values, check, phases, steps
from tests.deploy.prometheus.rules import without as without_steps
from tests.deploy.prometheus.test_model_rules import outcomes

pytestmark = pytest.mark.timeout(600)  # days of series, on a machine that may be busy

STEP_S = 120
HOUR = 60.0
DAY = 24 * HOUR
PAGE: Labels = {"model_id": "a", "severity": "page"}
TICKET: Labels = {"model_id": "a", "severity": "ticket"}


def failing(
    *parts: tuple[float, float], per_minute: float = 100, model: str = "a", instance: str = "one"
) -> dict[str, Values]:
    """The counters of a model through phases of (per cent that fail, minutes)."""
    success = [(per_minute * (1 - percent / 100), minutes) for percent, minutes in parts]
    failure = [(per_minute * percent / 100, minutes) for percent, minutes in parts]
    return outcomes(phases(*success, step_s=STEP_S), phases(*failure, step_s=STEP_S), model, instance)


def without(series: dict[str, Values], from_minute: float, to_minute: float) -> dict[str, Values]:
    return {name: without_steps(values, from_minute, to_minute, STEP_S) for name, values in series.items()}


def later(series: dict[str, Values], minutes: float) -> dict[str, Values]:
    return {name: [*[None] * steps(minutes, STEP_S), *values] for name, values in series.items()}


def others(minutes: float) -> dict[str, Values]:
    """Models without failures."""
    return {name: values for n in range(5) for name, values in failing((0, minutes), model=f"m{n}").items()}


def test_fast_burn(tmp_path: Path) -> None:
    """More than 14.4 % in an hour or 6 % in six, and still: a page."""
    hour = failing((0, 6 * HOUR), (20, 2 * HOUR))
    cases = [
        Case(
            "fires for an hour of 20 %",
            hour,
            {6 * HOUR: [], 6 * HOUR + 20: [], 6 * HOUR + 58: [PAGE]},
            {
                "summary": "a uses up its error budget within days",
                "description": (
                    "19.46% of the invocations of a fail, over the last hour (more than 14.4 %) or the last 6 hours "
                    "(more than 6 %); the objective allows 1 % over 30 days."
                ),
            },
        ),
        Case("fires for six hours of 8 %", failing((0, 6 * HOUR), (8, 7 * HOUR)), {8 * HOUR: [], 12.5 * HOUR: [PAGE]}),
        Case("not at the edge of six hours", failing((6, 8 * HOUR)), {2 * HOUR: [], 7.9 * HOUR: []}),
        Case(
            "not just below the edge of an hour", failing((0, 12 * HOUR), (14.3, 90)), {13 * HOUR: [], 13.4 * HOUR: []}
        ),
        Case(
            "ends soon after its cause",
            failing((0, 6 * HOUR), (20, HOUR), (0, HOUR)),
            {7 * HOUR: [PAGE], 7 * HOUR + 8: []},
        ),
        Case("no traffic", failing((50, HOUR), (50, 5 * HOUR), per_minute=0), {HOUR: [], 6 * HOUR: []}),
        Case("a quiet model's few failures", failing((100, 3 * HOUR), per_minute=1 / 15), {HOUR: [], 2.9 * HOUR: []}),
        Case("a new model that always fails", later(failing((100, 2 * HOUR)), 60), {58: [], 66: [PAGE]}),
        Case("a new model without failures", later(failing((0, 2 * HOUR)), 60), {62: [], 90: []}),
        Case(
            "a restarted sidecar or a target gone for a minute",
            without(hour, 6.5 * HOUR, 6.5 * HOUR + 2),
            {6 * HOUR + 58: [PAGE]},
        ),
        Case(
            "a restarted sidecar, few failures",
            without(failing((5, 8 * HOUR)), 7 * HOUR, 7 * HOUR + 2),
            {7 * HOUR + 4: [], 7.9 * HOUR: []},
        ),
        Case("one among many", {**others(8 * HOUR), **hour}, {6 * HOUR + 20: [], 6 * HOUR + 58: [PAGE]}),
        Case(
            "two replicas, 10 % together",
            {**failing((0, 6 * HOUR), (0, HOUR)), **failing((0, 6 * HOUR), (20, HOUR), instance="two")},
            {7 * HOUR - 2: []},
        ),
        Case(
            "two replicas, 20 % together",
            {**failing((0, 6 * HOUR), (0, HOUR)), **failing((0, 6 * HOUR), (40, HOUR), instance="two")},
            {7 * HOUR - 2: [PAGE]},
        ),
    ]
    check("ModelErrorBudgetBurnFast", cases, tmp_path, STEP_S)


def test_slow_burn(tmp_path: Path) -> None:
    """More than 3 % in a day or 1 % in three, and still: a ticket."""
    burning = failing((0, 10 * HOUR), (1.5, DAY))
    cases = [
        Case(
            "fires for 1.5 % that make 1 % of three days",
            burning,
            {29 * HOUR: [], 31 * HOUR: [TICKET]},
            {
                "summary": "a uses up its error budget",
                "description": (
                    "1.016% of the invocations of a fail, over the last day (more than 3 %) or the last 3 days "
                    "(more than 1 %); the objective allows 1 % over 30 days."
                ),
            },
        ),
        Case(
            "fires for some hours of 10 %",
            failing((0, 12 * HOUR), (10, 8 * HOUR)),
            {13 * HOUR: [], 19 * HOUR: [TICKET]},
        ),
        Case("not at the edge", failing((1, 8 * HOUR)), {HOUR: [], 7 * HOUR: []}),
        Case(
            "ends hours after its cause", failing((3, 8 * HOUR), (0, 7 * HOUR)), {8 * HOUR: [TICKET], 14.5 * HOUR: []}
        ),
        Case("no traffic", failing((50, 8 * HOUR), per_minute=0), {4 * HOUR: [], 7.9 * HOUR: []}),
        Case("a new model with 2 % failures", later(failing((2, 3 * HOUR)), 60), {58: [], 74: [TICKET]}),
        Case("a new model without failures", later(failing((0, 3 * HOUR)), 60), {62: [], 3 * HOUR: []}),
        Case(
            "a restarted sidecar or a target gone for a minute",
            without(failing((0.9, 8 * HOUR), (3, 8 * HOUR)), 8 * HOUR, 8 * HOUR + 2),
            {7 * HOUR: [], 8 * HOUR + 4: [], 15 * HOUR: [TICKET]},
        ),
        Case("one among many", {**others(8 * HOUR), **failing((3, 8 * HOUR))}, {7 * HOUR: [TICKET]}),
        Case(
            "two replicas, 0.8 % together",
            {**failing((0, 8 * HOUR)), **failing((1.6, 8 * HOUR), instance="two")},
            {7 * HOUR: []},
        ),
        Case(
            "two replicas, 1.5 % together",
            {**failing((0, 8 * HOUR)), **failing((3, 8 * HOUR), instance="two")},
            {7 * HOUR: [TICKET]},
        ),
    ]
    check("ModelErrorBudgetBurnSlow", cases, tmp_path, STEP_S)
