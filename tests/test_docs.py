"""The README is true: every setting, endpoint, metric and error type stands in it, and none that isn't there."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from deploy.load_test import LoadSettings
from deploy.mock_server import MockSettings
from invoker.front.routes import setup_routes as setup_gateway_routes
from invoker.routing.models import Models, load_models
from invoker.settings import InvokerSettings, ShipSettings
from metrics_sidecar.api.routes import setup_routes as setup_sidecar_routes
from metrics_sidecar.app import make_app
from metrics_sidecar.settings import SidecarSettings
from shared.record import ErrorType

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (InvokerSettings, ShipSettings, SidecarSettings, MockSettings, LoadSettings)


def described(settings_class: type) -> list[str]:
    """The README's row of each setting: variable, default, help."""
    return [
        f"| `{field.metadata['env']}` | {default_of(field)} | {field.metadata['help']} |"
        for field in dataclasses.fields(settings_class)
    ]


def default_of(field: "dataclasses.Field[object]") -> str:
    return "none" if field.default in (None, "") else f"`{field.default}`"


@pytest.mark.parametrize("settings_class", SETTINGS)
def test_every_setting_is_described(settings_class: type) -> None:
    """Name, default and help stand in the README as they stand in the settings table."""
    assert [row for row in described(settings_class) if row not in README] == []


def test_no_setting_is_described_that_is_not_there() -> None:
    """A row of a settings table in the README belongs to a setting."""
    rows = {row for settings_class in SETTINGS for row in described(settings_class)}
    written = set(re.findall(r"^\| `(?:INVOKER|SIDECAR|MOCK|LOAD|LOG)_.*$", README, re.MULTILINE))
    assert written - rows == set()


@pytest.mark.parametrize("setup", [setup_gateway_routes, setup_sidecar_routes])
def test_every_endpoint_is_described(setup: object) -> None:
    """Each path that a process serves stands in the README; assets of the Swagger page aside."""
    app = web.Application()
    setup(app)  # type: ignore[operator]
    paths = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    shown = {path.replace("{path}", "*") for path in paths if not path.startswith("/docs/")}
    assert [path for path in shown if path not in README] == []


async def test_every_metric_is_described(tmp_path: Path) -> None:
    """Each family that the sidecar exposes stands in the README with its type, and no other."""
    app = make_app(SidecarSettings(socket=tmp_path / "s", data_dir=tmp_path))
    async with TestClient(TestServer(app)) as client:
        text = await (await client.get("/metrics")).text()
    exposed = set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    ours = {(name, kind) for name, kind in exposed if not name.startswith(("process_", "python_"))}
    written = set(re.findall(r"^\| `((?:model|sidecar|invoker)_\w+)` \| (\w+) \|", README, re.MULTILINE))
    assert written == ours


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_every_error_type_is_described(error_type: ErrorType) -> None:
    """Each way to fail has its row."""
    assert f"| `{error_type}` |" in README


def test_the_models_file_of_the_readme_is_read(tmp_path: Path) -> None:
    """The example in the README is a models file."""
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "models.toml"
    path.write_text(example)
    models = load_models(InvokerSettings(models_file=path))
    assert isinstance(models, Models)
    assert models.names == ["gpt-3.5"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)", README))))
def test_every_make_target_of_the_readme_exists(target: str) -> None:
    """What the README says to type can be typed."""
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("module", ["invoker", "metrics_sidecar", "deploy.mock_server", "deploy.load_test"])
def test_every_command_has_help(module: str) -> None:
    """`--help` works without a configuration."""
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, check=True, capture_output=True)
    assert b"Usage:" in done.stdout


def test_poetrys_lock_is_of_this_project() -> None:
    """`poetry install` takes it as it is: the digest is of what pyproject.toml depends on, made as Poetry makes it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    keys = ("requires-python", "dependencies", "optional-dependencies")
    depends = {
        "project": {key: project["project"][key] for key in keys},
        "dependency-groups": project["dependency-groups"],
        "tool": {"poetry": {}},
    }
    lock = tomllib.loads((ROOT / "poetry.lock").read_text(encoding="utf-8"))
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    assert lock["metadata"]["content-hash"] == digest, "run `make lock`, or `poetry lock`"
    assert [package["name"] for package in lock["package"] if "source" in package or not package["files"]] == []
