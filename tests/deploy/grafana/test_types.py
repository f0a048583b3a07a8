"""The dashboards are of the types that Grafana publishes for the version that the stack runs."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.grafana import library
from tests.deploy.grafana.dashboards import NAMES, Json, read
from tests.deploy.grafana.library import ROOT, TYPES, run

CUSTOM = ("heatmap", "piechart", "table", "timeseries")
"""The kinds of panel that have field settings of their own."""


@pytest.fixture(scope="module")
def workspace() -> Path:
    return library.workspace()


def compile_as_grafana(dashboard: Json, workspace: Path, tmp_path: Path) -> str:
    """What the TypeScript compiler has to say of the dashboard; empty when it is right."""
    for name in ("json.ts", "tsconfig.json"):
        shutil.copy(TYPES / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(workspace / "node_modules")
    (tmp_path / "check.ts").write_text("\n".join(declarations(dashboard)), encoding="utf-8")
    compiler = workspace / "node_modules/typescript/bin/tsc"
    done = run("node", str(compiler), "--project", str(tmp_path), cwd=tmp_path)
    return done.stdout + done.stderr


def declarations(dashboard: Json) -> list[str]:
    """One constant per part: written out, so that the compiler refuses what a type doesn't have."""
    whole = {key: value for key, value in dashboard.items() if key not in ("panels", "annotations")}
    lines = [
        'import type { AnnotationJson, CustomJson, DashboardJson, OptionsJson, PanelJson, RowJson } from "./json";',
        f"export const dashboard: DashboardJson = {json.dumps(whole)};",
    ]
    for number, annotation in enumerate(dashboard["annotations"]["list"]):
        rest = {key: value for key, value in annotation.items() if key != "target"}
        lines.append(f"export const annotation{number}: AnnotationJson = {json.dumps(rest)};")
    for panel in dashboard["panels"]:
        number, kind = panel["id"], panel["type"]
        if kind == "row":
            lines.append(f"export const row{number}: RowJson = {json.dumps(panel)};")
            continue
        lines.append(f"export const panel{number}: PanelJson = {json.dumps(panel)};")
        lines.append(f'export const options{number}: OptionsJson["{kind}"] = {json.dumps(panel["options"])};')
        if kind in CUSTOM:
            custom = panel["fieldConfig"]["defaults"]["custom"]
            lines.append(f'export const custom{number}: CustomJson["{kind}"] = {json.dumps(custom)};')
    return lines


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_own_types_fit(name: str, workspace: Path, tmp_path: Path) -> None:
    """The dashboard, each panel, its options and its field settings."""
    assert compile_as_grafana(read(name), workspace, tmp_path) == ""


@pytest.mark.parametrize(
    ("key", "value"), [("mode", "every"), ("modus", "multi")], ids=["a value that is none", "a name that is none"]
)
def test_a_wrong_option_is_noticed(key: str, value: str, workspace: Path, tmp_path: Path) -> None:
    """Which says that the compiler looks closely."""
    dashboard = read("sidecar-health")
    panel = next(panel for panel in dashboard["panels"] if panel["type"] == "timeseries")
    panel["options"]["tooltip"][key] = value
    complaints = compile_as_grafana(dashboard, workspace, tmp_path).splitlines()
    assert len(complaints) == 1
    assert key in complaints[0] or value in complaints[0]


def test_the_types_are_those_of_the_grafana_that_runs() -> None:
    """compose.yaml and the types name the same version."""
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    wanted = json.loads((TYPES / "package.json").read_text())["dependencies"]
    images = [f"grafana/grafana:{wanted[name]}" for name in ("@grafana/schema", "@grafana/data")]
    assert images == [compose["services"]["grafana"]["image"]] * 2
