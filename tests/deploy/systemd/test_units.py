"""The units are what systemd takes, with commands and settings that exist, and no more rights than needed."""

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from invoker.process.parent import KILL_AFTER_S
from invoker.settings import InvokerSettings
from metrics_sidecar.__main__ import HTTP_GRACE_S
from metrics_sidecar.settings import SidecarSettings
from tests.tools import require_tools

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "deploy" / "systemd"
PREFIX = "/opt/invocation-gateway/bin/"
EXPOSURE = 15
"""Tenths, of `systemd-analyze security`; 10.0 is no protection at all. A server that talks to any host has 1.4."""
COMMANDS = ("invoker", "metrics-sidecar")
SETTINGS = {"invoker": InvokerSettings, "metrics-sidecar": SidecarSettings}


def unit(command: str) -> dict[str, dict[str, list[str]]]:
    """Section → key → values: a key may stand there more than once."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in (UNITS / f"{command}.service").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line[1:-1], {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


@pytest.fixture
def local_units(tmp_path: Path) -> list[Path]:
    """The units with this environment's commands in place of the installed ones."""
    for command in COMMANDS:
        text = (UNITS / f"{command}.service").read_text(encoding="utf-8")
        (tmp_path / f"{command}.service").write_text(
            text.replace(PREFIX, f"{Path(sys.executable).parent}/"), encoding="utf-8"
        )
    return sorted(tmp_path.iterdir())


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    require_tools("systemd-analyze")
    return subprocess.run(["systemd-analyze", *arguments], check=False, capture_output=True, text=True, timeout=30)


def test_systemd_takes_the_units(local_units: list[Path]) -> None:
    """`systemd-analyze verify` finds nothing to say."""
    done = analyze("verify", "--man=no", *local_units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_would_say_so(local_units: list[Path]) -> None:
    """The check above can fail: a misspelt key is named."""
    text = local_units[0].read_text(encoding="utf-8")
    local_units[0].write_text(text.replace("ProtectHome=", "ProtectHoem="), encoding="utf-8")
    assert "ProtectHoem" in analyze("verify", "--man=no", *local_units).stderr


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_a_unit_is_hardened(number: int, local_units: list[Path]) -> None:
    """`systemd-analyze security` puts its exposure below the limit."""
    done = analyze("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", local_units[number])
    assert done.returncode == 0, done.stdout


def test_both_units_are_hardened_alike() -> None:
    """What is between UMask and the end of the section is the same text."""
    hardening = {
        re.findall(r"\nUMask=.*?\n\n", (UNITS / f"{one}.service").read_text(), re.DOTALL)[0] for one in COMMANDS
    }
    assert len(hardening) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_unit_starts_a_command_with_settings_that_exist(command: str) -> None:
    """The console script of that name, and variables of its own settings, with values that they take."""
    service = unit(command)["Service"]
    assert service["ExecStart"] == [PREFIX + command]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert command in scripts
    fields = {field.metadata["env"]: field for field in dataclasses.fields(SETTINGS[command])}
    for assignment in service["Environment"]:
        env, _, value = assignment.partition("=")
        assert fields[env].metadata["type"].convert(value, None, None) is not None


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_written_is_where_the_unit_may_write(command: str) -> None:
    """The file system is read-only but for the directories that systemd makes for the service."""
    service = unit(command)["Service"]
    writable = {f"/var/lib/{service['StateDirectory'][0]}", f"/run/{service['RuntimeDirectory'][0]}"}
    paths = [Path(value.partition("=")[2]) for value in service["Environment"]]
    assert {str(path.parent if path.suffix else path) for path in paths} == writable


def test_both_use_one_socket_and_neither_takes_its_directory_away() -> None:
    """The directory stays when one of the two stops."""
    services = [unit(command)["Service"] for command in COMMANDS]
    sockets = {value for one in services for value in one["Environment"] if value.startswith("SIDECAR_SOCKET=")}
    assert len(sockets) == 1
    assert [one["RuntimeDirectoryPreserve"] for one in services] == [["yes"], ["yes"]]


def test_neither_starts_before_the_clock_is_set() -> None:
    """Where something sets it: the target is wanted, and not required."""
    for command in COMMANDS:
        section = unit(command)["Unit"]
        assert "time-sync.target" in section["After"][0].split()
        assert "time-sync.target" in section["Wants"][0].split()


def test_the_sidecar_is_first_and_is_not_needed() -> None:
    """Started before the gateway and stopped after it; but a gateway without it serves."""
    gateway = unit("invoker")["Unit"]
    assert "metrics-sidecar.service" in gateway["After"][0].split()
    assert "metrics-sidecar.service" in gateway["Wants"][0].split()
    assert gateway.keys().isdisjoint({"Requires", "BindsTo", "Requisite", "PartOf"})


def test_a_stop_takes_no_longer_than_systemd_waits() -> None:
    """With the default grace times nothing is killed."""
    waits = {one: float(unit(one)["Service"]["TimeoutStopSec"][0]) for one in COMMANDS}
    settings = InvokerSettings()
    assert waits["invoker"] > settings.drain_delay_s + settings.shutdown_grace_s + KILL_AFTER_S
    assert waits["metrics-sidecar"] > SidecarSettings().shutdown_grace_s + HTTP_GRACE_S


def test_the_user_of_the_units_is_made(tmp_path: Path) -> None:
    """systemd-sysusers makes the user and group that both units run as."""
    require_tools("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.conf")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    made = {line.partition(":")[0] for line in (tmp_path / "etc/passwd").read_text(encoding="utf-8").splitlines()}
    used = {unit(one)["Service"][key][0] for one in COMMANDS for key in ("User", "Group")}
    assert used == {"invocation-gateway"}
    assert used <= made


def test_the_page_installs_each_file() -> None:
    """Every file of deploy/systemd is named in the steps, and no other one."""
    named = re.findall(r"deploy/systemd/(\S+\.\w+)", (ROOT / "docs/deployment.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.name for path in UNITS.iterdir())
