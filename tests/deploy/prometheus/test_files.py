"""The files that users run are what their programs accept, and each alert tells its reader what to do."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import debian
from tests.deploy.prometheus.rules import DEPLOY, alert_rules

CONFIG = DEPLOY / "prometheus/prometheus.yml"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
PAGE = (DEPLOY.parent / "docs/metrics.md").read_text(encoding="utf-8")
ALERTS = alert_rules()
SEVERITIES = ("page", "ticket")


def section_of(alert: str) -> str:
    """What the runbook says of an alert; empty if it has nothing."""
    found = re.search(rf"^## {alert}$(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def name_of(rule: Any) -> str:
    return f"{rule['alert']}-{rule['labels']['severity']}"


def test_prometheus_accepts_its_files() -> None:
    """`promtool check config`, with every lint that it has."""
    command: list[str | Path] = [debian.promtool(), "check", "config", "--lint=all", "--lint-fatal", CONFIG]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_file() -> None:
    """`amtool check-config`."""
    command: list[str | Path] = [debian.amtool(), "check-config", DEPLOY / "alertmanager/alertmanager.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", ALERTS, ids=name_of)
def test_every_alert_says_what_to_do(rule: Any) -> None:
    """Severity, summary, description with the value, dashboard, and a section of the runbook with a curl."""
    alert = rule["alert"]
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description", "runbook", "dashboard"}
    assert "$value" in rule["annotations"]["description"]
    assert rule["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{alert.lower()}"
    section = section_of(alert)
    assert [part for part in ("**Means:**", "**Look:**", "curl ", "**Do:**") if part not in section] == []


def test_every_section_of_the_runbook_has_an_alert() -> None:
    """And no section is left of one that was removed."""
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == list(dict.fromkeys(rule["alert"] for rule in ALERTS))


def test_the_page_lists_the_alerts() -> None:
    """All of them, with the severities that they have, and no other."""
    expected: dict[str, list[str]] = {}
    for rule in ALERTS:
        expected.setdefault(rule["alert"], []).append(rule["labels"]["severity"])
    section = PAGE.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z].*?`) \| .* \| ([a-z, ]+) \|$", section, re.MULTILINE)
    assert {name: kinds.split(", ") for names, kinds in rows for name in re.findall(r"\w+", names)} == expected


def test_every_alert_is_tested() -> None:
    """A test beside this one makes it fire, and keeps it from firing."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8")) for path in sorted(Path(__file__).parent.glob("test_*_rules.py"))
    ]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    tested = [call.args[0].value for call in calls if is_check(call) and isinstance(call.args[0], ast.Constant)]
    assert set(tested) == {rule["alert"] for rule in ALERTS}


def test_inhibition_names_alerts_that_there_are() -> None:
    """Of whole names, so that none is silenced by accident."""
    inhibitions = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))[
        "inhibit_rules"
    ]
    matchers = [m for rule in inhibitions for m in rule["source_matchers"] + rule["target_matchers"]]
    named = {name for m in matchers if m.startswith("alertname") for name in re.findall(r"[A-Z]\w+", m)}
    assert named - {rule["alert"] for rule in ALERTS} == set()


def is_check(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "check"
