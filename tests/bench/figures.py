"""What a line of the benchmark finds, its budgets, and the file that keeps it all."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

Verdict = Literal["pass", "short", "not measurable", ""]


class Budget(msgspec.Struct, frozen=True):
    """A bound on our own value or on the ratio ours ÷ yardstick."""

    of: Literal["ours", "ratio"]
    at_least: float | None = None
    at_most: float | None = None

    def is_met_by(self, value: float) -> bool:
        return not (
            (self.at_least is not None and value < self.at_least) or (self.at_most is not None and value > self.at_most)
        )

    def __str__(self) -> str:
        sign = " ×" if self.of == "ratio" else ""
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}{sign}"
        return f"≤ {self.at_most:,g}{sign}"


class Figure(msgspec.Struct, frozen=True):
    """One row of the table: medians. `extra` holds what helps to read it, not to judge it."""

    name: str
    unit: str
    ours: float
    yardstick_name: str = ""
    yardstick: float | None = None
    ratio: float | None = None
    budget: Budget | None = None
    verdict: Verdict = ""
    note: str = ""
    extra: dict[str, float] = {}


class Point(msgspec.Struct, frozen=True):
    """One point of one curve of one plot."""

    plot: str
    curve: str
    x: float
    y: float


class Machine(msgspec.Struct, frozen=True):
    """Where figures were measured."""

    processor: str
    cores: int
    system: str
    python: str
    sqlite: str


class Outcome(msgspec.Struct, frozen=True):
    """What one line found."""

    figures: list[Figure]
    points: list[Point] = []


class LineResult(msgspec.Struct, frozen=True):
    """An outcome with its circumstances. `pace_ms`: `machine.pace_ms` before and after."""

    measured_at: datetime.datetime
    duration_s: float
    quick: bool
    machine: Machine
    outcome: Outcome
    pace_ms: tuple[float, float] | None = None


Results = dict[str, LineResult]


def figure(
    name: str,
    unit: str,
    ours: float,
    *,
    yardstick: tuple[str, float] | None = None,
    budget: Budget | None = None,
    measurable: bool = True,
    note: str = "",
    extra: Mapping[str, float] | None = None,
) -> Figure:
    """A figure with its ratio and verdict worked out; `measurable` is whether this machine can tell."""
    ratio = ours / yardstick[1] if yardstick and yardstick[1] else None
    verdict: Verdict = ""
    if budget is not None:
        judged = ours if budget.of == "ours" else ratio
        if not measurable or judged is None:
            verdict = "not measurable"
        else:
            verdict = "pass" if budget.is_met_by(judged) else "short"
    name_, value = yardstick or ("", None)
    return Figure(name, unit, ours, name_, value, ratio, budget, verdict, note, dict(extra or {}))


def load_results(path: Path) -> Results:
    """What earlier runs left; nothing if there is no file."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=Results)


def save_results(path: Path, results: Results) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
