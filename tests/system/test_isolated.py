"""What lies in the working directory, or where PYTHONPATH leads, is executed by no process that ours start."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.processes import PROJECT, running
from tests.processes import System, get_text, system

TRAPS = ("msgspec", "metrics_sidecar", "shared", "sqlite3", "aiohttp", "invoker", "deploy", "uvloop")


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A directory in which each package tells that it was imported, and fails."""
    directory = tmp_path / "trapped"
    for name in TRAPS:
        (directory / name).mkdir(parents=True)
        told = directory / "executed"
        (directory / name / "__init__.py").write_text(
            f"open({str(told)!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        )
    (directory / "sitecustomize.py").write_text(f"open({str(told)!r}, 'a').write('site')\n")
    return directory


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def sidecar(started: System, *command: str, cwd: Path, **environment: str) -> None:
    """A sidecar started so, of which a page, statistics, and an export are asked."""
    started.start_mock()
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env={
            "PATH": os.environ["PATH"],
            "SIDECAR_PORT": "0",
            "SIDECAR_SOCKET": str(started.socket),
            "SIDECAR_DATA_DIR": str(started.data),
            "LOG_FORMAT": "json",
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                event = json.loads(line)
                if event["event"] == "sidecar.listening":
                    started.sidecar_url = event["url"]
                    break
            started.start_gateway()
            assert started.invoke("m")[0] == 200
            started.settled("m", 1)
            assert started.history()["total_count"] == 1
            rows = csv.reader(io.StringIO(get_text(f"{started.sidecar_url}/metrics/export?format=csv")))
            assert [row[1] for row in rows] == ["model_id", "m"]
        finally:
            process.kill()


START = ("-P", "-c", "from metrics_sidecar.__main__ import main; main()")
"""As the console script does: without the working directory."""


def test_a_working_directory_full_of_modules(started: System, trapped: Path) -> None:
    """None of them is executed."""
    sidecar(started, *START, cwd=trapped)
    assert not (trapped / "executed").exists()


def test_a_pythonpath_that_changes_after_the_start(started: System, trapped: Path, tmp_path: Path) -> None:
    """Relative to a directory that is another one later, say: children look at none of it first."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    code = f"import metrics_sidecar.app, os; os.unlink({str(link)!r}); os.symlink({str(trapped)!r}, {str(link)!r})\n"
    sidecar(started, "-P", "-c", code + START[-1], cwd=tmp_path, PYTHONPATH=str(link))
    assert not (trapped / "executed").exists()


def test_a_working_directory_that_was_removed(tmp_path: Path) -> None:
    """Its process goes on without one, and so do those that it starts."""
    code = (
        "import os, subprocess; from shared import isolated; os.rmdir(os.getcwd());"
        "raise SystemExit(subprocess.run(isolated.python('shared.files')).returncode)"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd=gone, check=False).returncode == 0


def test_it_needs_no_installation(started: System, tmp_path: Path) -> None:
    """A copy that only PYTHONPATH leads to is what its children run, not what is installed."""
    copy = tmp_path / "copy"
    for package in ("metrics_sidecar", "shared"):
        for source in (PROJECT / package).rglob("*.py"):
            target = copy / source.relative_to(PROJECT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text())
    mark = tmp_path / "copied"
    with (copy / "metrics_sidecar/sqlite/reading.py").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("\ndef main() -> None:\n", f"\ndef main() -> None:\n    Path({str(mark)!r}).touch()\n"))
    sidecar(started, *START, cwd=tmp_path, PYTHONPATH=str(copy))
    assert mark.exists()


def test_a_wheel_needs_nothing_else(tmp_path: Path) -> None:
    """What runs the children is part of it."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    done = subprocess.run([*command, str(PROJECT)], capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"no wheel can be built here: {done.stderr.strip()[-200:]}")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {"shared/isolated.py", "metrics_sidecar/sqlite/reading.py"} <= {*archive.namelist()}


def test_make_run_takes_nothing_from_where_it_is_started(trapped: Path) -> None:
    """Its processes are those of the project that it is of."""
    code = (
        "import subprocess, sys\n"
        "from deploy.run import services\n"
        "for service in services():\n"
        "    done = subprocess.run(f'exec {service.command} --help', shell=True, capture_output=True, text=True)\n"
        "    print(service.name, done.returncode, flush=True)\n"
    )
    with running("-P", "-c", code, cwd=trapped) as program:
        assert program.end() == 0
        assert program.output.splitlines() == ["mock 0", "sidecar 0", "gateway 0"]
    assert not (trapped / "executed").exists()
