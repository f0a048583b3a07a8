"""Runs `promtool test rules` on the rules as they are, with series and expected alerts made in Python."""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests import debian

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = sorted((DEPLOY / "prometheus/rules").glob("*.yaml"))

STEP_S = 15
"""Between the samples of a series, and between evaluations."""

Values = Sequence[float | None]
"""One per step; None is no sample, as of a target that is gone."""

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """Series, and at each of some minutes the labels of the alerts that fire then (alertname aside)."""

    name: str
    series: Mapping[str, Values]
    firing: Mapping[float, Sequence[Labels]]
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Summary and description of the one alert that fires at the last of these minutes."""


def alert_rules() -> list[dict[str, Any]]:
    """All alerts as the files have them."""
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def groups() -> list[dict[str, Any]]:
    """All groups, those whose results others need first."""
    found = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return sorted(found, key=lambda group: "record" not in group["rules"][0])


def check(alert: str, cases: Iterable[Case], directory: Path, step_s: int = STEP_S) -> None:
    """Fails with promtool's words if an alert fires where none is expected, or the other way round."""
    run_promtool([promtool_test(alert, case, step_s) for case in cases], directory / f"{alert}.test.yaml", step_s)


def check_recorded(
    series: Mapping[str, Values], minute: float, samples: Mapping[str, float], directory: Path, step_s: int = STEP_S
) -> None:
    """Fails with promtool's words if recorded series are not these at that minute, to 3 digits."""
    wanted = [
        {
            "expr": f"round({name}, 0.001)",
            "eval_time": f"{round(minute * 60)}s",
            "exp_samples": [{"labels": "{" + name.partition("{")[2], "value": round(value, 3)}],
        }
        for name, value in samples.items()
    ]
    given = [{"series": name, "values": notation(values)} for name, values in series.items()]
    test = {"name": "recorded", "interval": f"{step_s}s", "input_series": given, "promql_expr_test": wanted}
    run_promtool([test], directory / "recorded.test.yaml", step_s)


def run_promtool(tests: Sequence[Any], path: Path, step_s: int) -> None:
    content = {
        "rule_files": [str(file) for file in RULES],
        "evaluation_interval": f"{step_s}s",
        "group_eval_order": [group["name"] for group in groups()],
        "tests": tests,
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run([debian.promtool(), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def promtool_test(alert: str, case: Case, step_s: int) -> dict[str, Any]:
    """One case in promtool's form."""
    return {
        "name": f"{alert}: {case.name}",
        "interval": f"{step_s}s",
        "input_series": [{"series": name, "values": notation(values)} for name, values in case.series.items()],
        "promql_expr_test": [firing_at(alert, minute, alerts) for minute, alerts in case.firing.items()],
        "alert_rule_test": [annotated(alert, case)] if case.annotations else [],
    }


def notation(values: Values) -> str:
    """As promtool reads values; a gap begins with what a scrape that fails leaves in Prometheus."""
    before = [0.0, *values]
    return " ".join(
        str(value) if value is not None else "_" if last is None else "stale"
        for last, value in zip(before, values, strict=False)
    )


def firing_at(alert: str, minute: float, alerts: Sequence[Labels]) -> dict[str, Any]:
    """Which alerts of that name fire, and no others."""
    samples = [
        {"labels": metric("ALERTS", alertname=alert, alertstate="firing", **labels), "value": 1} for labels in alerts
    ]
    selector = metric("ALERTS", alertname=alert, alertstate="firing")
    return {"expr": selector, "eval_time": f"{round(minute * 60)}s", "exp_samples": samples}


def annotated(alert: str, case: Case) -> dict[str, Any]:
    """The alert with everything that its receiver reads."""
    minute, (labels,) = list(case.firing.items())[-1]  # the last with one alert
    model_id = labels.get("model_id")
    page = f"model-invocation-metrics?var-model_id={model_id}" if model_id else "sidecar-health"
    fixed = {"runbook": f"deploy/RUNBOOK.md#{alert.lower()}", "dashboard": f"http://localhost:3000/d/{page}"}
    expected = {"exp_labels": dict(labels), "exp_annotations": {**fixed, **case.annotations}}
    return {"eval_time": f"{round(minute * 60)}s", "alertname": alert, "exp_alerts": [expected]}


def metric(name: str, **labels: str) -> str:
    """A series as PromQL writes it."""
    pairs = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}"


def steps(minutes: float, step_s: int = STEP_S) -> int:
    return round(minutes * 60 / step_s)


def flat(value: float, minutes: float, step_s: int = STEP_S) -> list[float | None]:
    """A gauge that stays."""
    return [value] * steps(minutes, step_s)


def rising(per_minute: float, minutes: float, start: float = 0.0, step_s: int = STEP_S) -> list[float | None]:
    """A counter from `start` on."""
    return [start + per_minute * number * step_s / 60 for number in range(steps(minutes, step_s))]


def phases(*parts: tuple[float, float], step_s: int = STEP_S) -> list[float | None]:
    """A counter that goes through phases of (rate per minute, minutes), without a jump between them."""
    values: list[float | None] = []
    total = 0.0
    for per_minute, minutes in parts:
        values += rising(per_minute, minutes, total, step_s)
        total += per_minute * minutes
    return values


def without(values: Values, from_minute: float, to_minute: float, step_s: int = STEP_S) -> list[float | None]:
    """The same with a gap."""
    gap = range(steps(from_minute, step_s), steps(to_minute, step_s))
    return [None if number in gap else value for number, value in enumerate(values)]
