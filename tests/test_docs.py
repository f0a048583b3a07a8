"""The documents are true: settings, endpoints, commands, metrics and error types stand in them, all and no others."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import invoker.__main__
import metrics_sidecar.__main__
from deploy.load_test import LoadSettings
from deploy.mock.config import Behaviour
from deploy.mock.streams import StreamBehaviour
from deploy.mock_server import MockSettings
from invoker.front.health import healthz
from invoker.front.routes import setup_routes as setup_gateway_routes
from invoker.models_file.reading import load_models
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.kserve import KServe
from invoker.protocols.openai import OpenAI
from invoker.protocols.worklet import Worklet
from invoker.routing.models import Models
from invoker.settings import InvokerSettings, ShipSettings
from metrics_sidecar.api.routes import OPERATIONS
from metrics_sidecar.api.routes import setup_routes as setup_sidecar_routes
from metrics_sidecar.app import make_app
from metrics_sidecar.settings import SidecarSettings
from shared.pages import PAGES as SERVED
from shared.pages import anchor
from shared.record import ErrorType

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "tests/bench/*.md")
    for path in sorted(ROOT.glob(pattern))
}
README = PAGES["README.md"]
README_MAX_LINES = 250
SETTINGS_PAGE = PAGES["docs/settings.md"]
SETTINGS = (InvokerSettings, ShipSettings, SidecarSettings, MockSettings, LoadSettings)


def setup_dialect(app: web.Application, routes: Sequence[str]) -> None:
    app.add_routes([web.post(path, healthz) for path in routes])


def described(settings_class: type) -> list[str]:
    """The row of each setting: variable, default, help."""
    return [
        f"| `{field.metadata['env']}` | {default_of(field)} | {field.metadata['help']} |"
        for field in dataclasses.fields(settings_class)
    ]


def test_every_behaviour_of_the_mock_server_is_described() -> None:
    """All that `PUT /config` takes stands on its page, and no more does in the tables of it."""
    behaviours = {field.name for kind in (Behaviour, StreamBehaviour) for field in msgspec.structs.fields(kind)}
    page = PAGES["docs/mock-server.md"].partition("How a model behaves")[2]
    rows = re.findall(r"^\| (`[a-z_` ]+`) \|", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall("[a-z_]+", row)} == behaviours


def default_of(field: "dataclasses.Field[object]") -> str:
    return "none" if field.default in (None, "") else f"`{field.default}`"


@pytest.mark.parametrize("settings_class", SETTINGS)
def test_every_setting_is_described(settings_class: type) -> None:
    """Name, default and help stand there as they stand in the code."""
    assert [row for row in described(settings_class) if row not in SETTINGS_PAGE] == []


def test_no_setting_is_described_that_is_not_there() -> None:
    """A row of a settings table belongs to a setting."""
    rows = {row for settings_class in SETTINGS for row in described(settings_class)}
    written = set(re.findall(r"^\| `(?:INVOKER|SIDECAR|MOCK|LOAD|LOG)_.*$", SETTINGS_PAGE, re.MULTILINE))
    assert written - rows == set()


@pytest.mark.parametrize(
    ("setup", "page"),
    [
        (lambda app: setup_gateway_routes(app, Worklet.routes), "docs/gateway.md"),
        (lambda app: setup_dialect(app, OpenAI.routes), "docs/openai.md"),
        (lambda app: setup_dialect(app, Anthropic.routes), "docs/anthropic.md"),
        (lambda app: setup_dialect(app, KServe.routes), "docs/kserve.md"),
        (setup_sidecar_routes, "docs/history.md"),
    ],
)
def test_every_endpoint_is_described(setup: Callable[[web.Application], None], page: str) -> None:
    """Each path that a process serves stands in its page; assets of the Swagger page aside."""
    app = web.Application()
    setup(app)
    paths = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    shown = {path.replace("{path}", "*") for path in paths if not path.startswith("/docs/")}
    assert [path for path in shown if path not in PAGES[page]] == []


def examples() -> list[tuple[str, str]]:
    """Each address of the sidecar's API that is asked for in a page, and what is shown as its answer."""
    blocks = re.findall(r"```console\n(.*?)```", "".join(PAGES.values()), re.DOTALL)
    steps = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", "\n".join(blocks), re.MULTILINE)
    asked = [(re.search(r"localhost:\d+(/metrics[^\s']*)", command), shown) for command, shown in steps]
    return [(found[1], shown) for found, shown in asked if found]


@pytest.mark.parametrize(("address", "shown"), examples())
def test_every_example_is_one_of_this_release(address: str, shown: str) -> None:
    """It asks by parameters that there are, and what is shown has the fields of an answer, all and no others."""
    parts = urlsplit(address)
    (operation,) = [one for one in OPERATIONS if re.fullmatch(re.sub(r"\{\w+\}", r"\\d+", one.path), parts.path)]
    names = {field.encode_name for field in msgspec.structs.fields(operation.query)} if operation.query else set()
    assert parse_qs(parts.query).keys() - names == set()
    if shown.startswith("{"):
        answer = msgspec.json.decode(shown, type=operation.responses[200].body)
        assert json.loads(msgspec.json.encode(answer)) == json.loads(shown)


async def test_every_metric_is_described(tmp_path: Path) -> None:
    """Each family that the sidecar exposes stands in its page with its type, and no other."""
    app = make_app(SidecarSettings(socket=tmp_path / "s", data_dir=tmp_path))
    async with TestClient(TestServer(app)) as client:
        text = await (await client.get("/metrics")).text()
    exposed = set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    ours = {(name, kind) for name, kind in exposed if not name.startswith(("process_", "python_"))}
    rows = re.findall(r"^\| `((?:model|sidecar|invoker)_\w+)` \| (\w+) \|", PAGES["docs/metrics.md"], re.MULTILINE)
    assert set(rows) == ours


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_every_error_type_is_described(error_type: ErrorType) -> None:
    """Each way to fail has its row."""
    assert f"| `{error_type}` |" in PAGES["docs/gateway.md"]


def test_the_examples_of_a_models_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they are one, where the keys that it names are set."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0")
    monkeypatch.setenv("SPARE_KEY", "sk-1")
    path = tmp_path / "models.toml"
    path.write_text("".join(re.findall(r"```toml\n(.*?)```", PAGES["docs/models-file.md"], re.DOTALL)))
    models = load_models(InvokerSettings(models_file=path))
    assert isinstance(models, Models)
    assert models.names == ["gpt-3.5", "gpt-4o", "big", "small"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)", "".join(PAGES.values())))))
def test_every_make_target_that_is_named_exists(target: str) -> None:
    """What is said to be typed can be typed."""
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_every_make_target_is_described() -> None:
    """Each that `make help` lists has its row."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    described = "".join(re.findall(r"^\|.*", SETTINGS_PAGE + PAGES["CONTRIBUTING.md"], re.MULTILINE))
    assert [target for target in targets if not re.search(rf"`make {target}[ `]", described)] == []


def test_every_command_is_described() -> None:
    """Each console script, and each command that one of them has, stands in the settings' page."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    groups = {"invoker": invoker.__main__.cli, "metrics-sidecar": metrics_sidecar.__main__.cli}
    commands = [*scripts, *(name for group in groups.values() for name in group.commands)]
    written = re.findall(r"^\| (`.*?`) \|", SETTINGS_PAGE.partition("\n## Commands\n")[2], re.MULTILINE)
    words = {word for row in written for name in re.findall(r"`(.*?)`", row) for word in name.split()}
    assert [name for name in commands if name not in words] == []


@pytest.mark.parametrize("module", ["invoker", "metrics_sidecar", "deploy.mock_server", "deploy.load_test"])
def test_every_command_has_help(module: str) -> None:
    """`--help` works without a configuration."""
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, check=True, capture_output=True)
    assert b"Usage:" in done.stdout


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {anchor(heading) for heading in headings}


def links(page: str) -> list[str]:
    """What it leads to, but for other sites. Code is no link."""
    text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    targets: list[str] = re.findall(r"\[(?:[^\]`]|`[^`]*`)*\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    """To a file that is there and, where it names one, to a heading in it."""
    dead = []
    for target in links(PAGES[name]):
        path, _, heading = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists() or (heading and heading not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("docs/")])
def test_every_page_can_be_found(name: str) -> None:
    """The README leads to it, and so do the Swagger pages."""
    assert name in links(README)
    assert Path(name).stem in SERVED


CODE = re.compile(r"`((?:invoker|metrics_sidecar|shared|deploy|tests|docs)/[\w./-]*)`")


@pytest.mark.parametrize("name", [name for name in PAGES if name != "CHANGELOG.md"])
def test_every_file_that_is_named_is_there(name: str) -> None:
    """Where a change goes is said by paths, and they move."""
    assert [path for path in CODE.findall(PAGES[name]) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", ["invoker", "metrics_sidecar"])
def test_every_room_is_in_the_drawing(package: str) -> None:
    """Who looks for the place of a change finds each folder there."""
    (drawing,) = re.findall(r"```\n( callers\n.*?)```", PAGES["CONTRIBUTING.md"], re.DOTALL)
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert rooms - set(re.findall(r"\w+", drawing)) == set()


def test_the_readme_is_short() -> None:
    """All else is in the pages that it leads to."""
    assert len(README.splitlines()) <= README_MAX_LINES


def test_every_dependency_has_its_reason() -> None:
    """Each that pyproject.toml names, and what it is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    rows = re.findall(r"^\| (.+?) \|", PAGES["CONTRIBUTING.md"].partition("\n## Dependencies\n")[2], re.MULTILINE)
    written = {word for row in rows for word in re.findall(r"[a-z][a-z0-9-]*", row)}
    assert {re.split(r"[^\w-]", one)[0] for one in asked} - written == set()


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
