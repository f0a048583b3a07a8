"""The wheel is all that is needed: in an environment of its own, run from an empty folder, it serves everything."""

import json
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.docs import ASSETS
from shared.pages import PAGES
from tests.processes import System, get, get_text, post, system

ROOT = Path(__file__).parent.parent
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
DOCS = ["docs", "openapi.json", "docs/initializer.js"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the locked build backend, without a network."""
    directory = tmp_path_factory.mktemp("wheel")
    build = "import sys; from poetry.core.masonry.api import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(directory)], cwd=ROOT, check=True, capture_output=True)
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has the wheel and sees the locked packages, but not this checkout: a path that a .pth file names is
    searched, and .pth files in it, such as that of an editable install, are not read."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    python = directory / "bin" / "python"
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", place], check=True, capture_output=True, text=True).stdout.strip())
    (packages / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def installed(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Mock server, sidecar and gateway of the wheel, started in an empty folder, and ten calls made."""
    with system(tmp_path_factory.mktemp("installed")) as started:
        started.python = str(environment / "bin" / "python")
        started.cwd = tmp_path_factory.mktemp("empty")
        started.start_mock()
        started.start_sidecar()
        started.start_gateway()
        for _ in range(10):
            assert started.invoke()[0] == 200
        started.settled("gpt-3.5", 10)
        yield started
        assert list(started.cwd.iterdir()) == []


def test_the_wheel_holds_the_packages_and_their_pages(wheel: Path) -> None:
    """And nothing that belongs to a checkout alone."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folders = {name.partition("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == {
        "deploy", "docs", "invoker", "metrics_sidecar", "shared",
    }  # fmt: skip
    assert {name for name in names if name.startswith("docs/")} == {f"docs/{name}.md" for name in PAGES}
    assert [name for name in names if "__pycache__" in name] == []


def test_it_is_the_wheel_that_runs(environment: Path, tmp_path: Path) -> None:
    """Its modules are found, and this checkout's are not."""
    names = "deploy, invoker, metrics_sidecar, shared"
    where = f"import json, {names}; print(json.dumps([one.__file__ for one in ({names})]))"
    python = environment / "bin" / "python"
    found = json.loads(subprocess.run([python, "-c", where], cwd=tmp_path, check=True, capture_output=True).stdout)
    assert [path for path in found if not Path(path).is_relative_to(environment)] == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_installed(environment: Path, tmp_path: Path, script: str) -> None:
    """And says what it is for."""
    done = subprocess.run([environment / "bin" / script, "--help"], cwd=tmp_path, check=True, capture_output=True)
    assert b"Usage:" in done.stdout


@pytest.mark.parametrize("path", [*DOCS, *(f"docs/{name}" for name in ASSETS), *(f"docs/{name}.md" for name in PAGES)])
def test_both_serve_swagger_and_pages(installed: System, path: str) -> None:
    """Files that aren't Python are in the wheel, or in a package that it asks for."""
    for url in (installed.gateway_url, installed.sidecar_url):
        with urllib.request.urlopen(f"{url}/{path}", timeout=10) as response:
            assert response.read()


def test_both_do_their_work(installed: System) -> None:
    """The processes beside them, too: those that read large bodies, history and exports."""
    numbers = list(range(50_000))
    body = json.dumps({"worklet_input": {"model_id": "large", "input": numbers}}).encode()
    status, answer = post(f"{installed.gateway_url}/invoke", body)
    assert (status, answer["worklet_output"]) == (200, [number + 5 for number in numbers])
    installed.settled("large", 1)
    (row,) = get(f"{installed.gateway_url}/metrics/history?model_id=large")["history"]
    (line,) = get_text(f"{installed.sidecar_url}/metrics/export?model_id=large").splitlines()
    assert row.items() <= json.loads(line).items()
    series = get(f"{installed.sidecar_url}/metrics/timeseries?metric=invocations&step=1m&window=5m")["series"]
    assert sum(count for _, count in series[0]["points"]) == 11
    exposed = get_text(f"{installed.gateway_url}/metrics")
    assert 'model_invocations_total{model_id="large",status="success"} 1' in exposed
    assert get(f"{installed.gateway_url}/metrics/reconcile")["consistent"] is True


def test_what_works_on_a_data_directory_does(environment: Path, installed: System, tmp_path: Path) -> None:
    """Beside the sidecar that writes to it."""
    program = environment / "bin" / "metrics-sidecar"
    subprocess.run([program, "verify", f"--data-dir={installed.data}"], cwd=tmp_path, check=True, capture_output=True)


def test_the_image_is_built_from_all_that_its_commands_use() -> None:
    """`.dockerignore` lets in each module that one of them imports, and the pages."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {path for line in lines if line.startswith("!") for path in ROOT.glob(line[1:])}
    modules = sorted({entry.partition(":")[0] for entry in SCRIPTS.values()})
    print_used = "import json, sys; print(json.dumps([getattr(one, '__file__', None) for one in sys.modules.values()]))"
    command = [sys.executable, "-c", f"import {', '.join(modules)}; {print_used}"]
    loaded = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    used = [path for path in map(Path, filter(None, loaded)) if path.is_relative_to(ROOT) and ".venv" not in path.parts]
    assert len(used) > 100
    pages = [ROOT / "docs" / f"{name}.md" for name in PAGES]
    assert [path for path in [*used, *pages] if not {path, *path.parents} & let_in] == []
