"""Grafana's own packages, locked in `types/`, in a folder below `.venv` that is kept for the next run."""

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tools import lack, require_tools

ROOT = Path(__file__).parents[3]
TYPES = Path(__file__).parent / "types"
INSTALL = ("npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund")
"""Without the peers that only build Grafana's packages."""


def workspace() -> Path:
    """The folder with `node_modules`. Skips the test where the registry can't be reached; in CI it fails."""
    require_tools("node", "npm")
    lock = (TYPES / "package-lock.json").read_bytes()
    folder = ROOT / ".venv" / f"grafana-types-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # test modules run beside each other
        if not (folder / "node_modules/.package-lock.json").exists():
            shutil.copytree(TYPES, folder, dirs_exist_ok=True)
            done = run(*INSTALL, cwd=folder)
            if done.returncode:
                lack(f"npm ci: {done.stderr}")
    return folder


def run(*command: str, cwd: Path, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=cwd, input=given, capture_output=True, text=True, check=False)


def time_range(asked: str) -> str:
    """What Grafana calls a panel's time range of its own. Fails where it makes nothing of it."""
    done = run("node", str(TYPES / "time_range.cjs"), asked, cwd=workspace())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def figures(asked: Sequence[tuple[Any, Sequence[tuple[str, float | None]]]]) -> list[list[tuple[str, str]]]:
    """Text and colour of each figure that panels show of series: (panel, [(name, value)]) each. None is NaN."""
    cases = [
        {"panel": panel, "frames": [{"name": name, "value": value} for name, value in series]}
        for panel, series in asked
    ]
    done = run("node", str(TYPES / "figures.cjs"), cwd=workspace(), given=json.dumps(cases))
    assert done.returncode == 0, done.stderr
    return [[(one["text"], one["color"]) for one in shown] for shown in json.loads(done.stdout)]
