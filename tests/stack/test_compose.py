"""The stack's files, without running them: what every service has, Grafana's among them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from invoker.process.parent import KILL_AFTER_S
from invoker.settings import InvokerSettings
from metrics_sidecar.__main__ import HTTP_GRACE_S
from metrics_sidecar.settings import SidecarSettings
from tests.stack.compose import ROOT, compose_binary

DEPLOY = ROOT / "deploy"
SERVICES = ("gateway", "sidecar", "mock", "prometheus", "alertmanager", "grafana")
OVERRIDES = {
    "workers": {"INVOKER_WORKERS": "8"},
    "models": {"UPSTREAM_URL": "http://10.0.0.7:9000/invoke"},
}
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*$")

Service = dict[str, Any]


def configuration(*files: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`docker compose config`, with only these settings in the environment."""
    names = [part for file in files for part in ("--file", str(DEPLOY / file))]
    return subprocess.run(
        [compose_binary(), *names, "config", "--format", "json"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def services(*files: str, **settings: str) -> dict[str, Service]:
    done = configuration(*files, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Service] = json.loads(done.stdout)["services"]
    return found


def seconds(duration: str) -> float:
    """Of compose's notation, as far as it is used here."""
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration).groups(default="0")  # type: ignore[union-attr]
    return int(minutes) * 60.0 + int(rest)


def test_compose_reads_the_files_from_the_root() -> None:
    """`docker compose up -d` in a clone's root is all it takes: `.env` names the file and the password."""
    assert set(services()) == set(SERVICES)


@pytest.mark.parametrize("name", sorted(OVERRIDES))
def test_an_override_is_valid(name: str) -> None:
    """Each override file goes with the main one."""
    found = services("compose.yaml", f"compose.{name}.yaml", GRAFANA_PASSWORD="x", **OVERRIDES[name])
    values = found["gateway"]["environment"].values()
    assert set(OVERRIDES[name].values()) <= set(values)


def test_no_mock_server_beside_a_real_one() -> None:
    """With a model server of one's own, the mock server is not started."""
    found = services("compose.yaml", "compose.models.yaml", GRAFANA_PASSWORD="x", **OVERRIDES["models"])
    assert set(found) == set(SERVICES) - {"mock"}


@pytest.mark.parametrize(
    ("file", "setting"), [("compose.yaml", "GRAFANA_PASSWORD"), ("compose.models.yaml", "UPSTREAM_URL")]
)
def test_a_missing_setting_is_named(file: str, setting: str) -> None:
    """Nothing falls back to a password or a model server that nobody chose."""
    given = {"GRAFANA_PASSWORD": "x", **OVERRIDES["models"]}
    del given[setting]
    done = configuration(*dict.fromkeys(["compose.yaml", file]), **given)
    assert done.returncode != 0
    assert f"{setting} is missing" in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    """Read-only root, no capabilities, no new privileges, bounded logs, reachable from this machine only."""
    service = services()[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched(name: str) -> None:
    """A health check that `up --wait` waits for, and a restart after a crash."""
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"


def test_what_is_written_is_on_volumes() -> None:
    """Only named volumes are written to; what comes from the repository is read-only."""
    mounts = [mount for service in services().values() for mount in service.get("volumes", [])]
    assert {mount["type"] for mount in mounts if not mount.get("read_only")} == {"volume"}
    volumes = {mount["source"] for mount in mounts if mount["type"] == "volume"}
    assert volumes == {"journal", "history", "socket", "prometheus", "alertmanager", "grafana"}
    assert [mount["source"] for mount in mounts if mount["type"] == "bind" and not Path(mount["source"]).exists()] == []


def test_images_are_pinned() -> None:
    """Every image from elsewhere has a full version."""
    named = {service["image"] for service in services().values() if "build" not in service}
    named |= set(re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    assert len(named) == 4
    assert [image for image in named if not PINNED.match(image)] == []


def test_the_time_to_stop_is_longer_than_the_drain() -> None:
    """The engine's SIGKILL comes after all that the processes may take themselves."""
    found = services()
    grace = {name: seconds(found[name]["stop_grace_period"]) for name in ("gateway", "sidecar")}
    settings = InvokerSettings()
    assert grace["gateway"] > settings.drain_delay_s + settings.shutdown_grace_s + KILL_AFTER_S
    assert grace["sidecar"] > SidecarSettings().shutdown_grace_s + HTTP_GRACE_S


def test_the_gateway_stops_first() -> None:
    """What it calls and what it reports to are still there while it drains."""
    assert {"mock", "sidecar"} <= services()["gateway"]["depends_on"].keys()


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile follows the linter's rules, without exceptions."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
