"""The processes start with the manifests' settings, and answer the manifests' probes."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.kubernetes.manifests import Resource, container, environment, find, gateway_pod
from tests.processes import System, eventually, get, system

OVERLAY = "overlays/mock"


def local_environment(command: str, root: Path) -> dict[str, str]:
    """The container's environment, with its mounts below `root` and on a free port of this machine."""
    mounts = tuple(f"{mount['mountPath']}/" for mount in container(OVERLAY, command)["volumeMounts"])
    found = {}
    for env, value in environment(OVERLAY, command).items():
        if not env.endswith(("_HOST", "_PORT")):
            found[env] = f"{root}{value}" if f"{value}/".startswith(mounts) else value
    return found


def write_models(root: Path) -> None:
    """The files of the ConfigMap that the gateway has mounted."""
    volumes = {volume["name"]: volume for volume in gateway_pod(OVERLAY)["volumes"] if "configMap" in volume}
    (mount,) = [one for one in container(OVERLAY, "invoker")["volumeMounts"] if one["name"] in volumes]
    files = find(OVERLAY, "ConfigMap", volumes[mount["name"]]["configMap"]["name"])["data"]
    for name, text in files.items():
        path = root / mount["mountPath"][1:] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as response:
        answered: int = response.status
        return answered


def probes(command: str) -> dict[str, str]:
    """Path by the probe's name."""
    one: Resource = container(OVERLAY, command)
    return {name: probe["httpGet"]["path"] for name, probe in one.items() if name.endswith("Probe")}


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[System]:
    """Mock server and gateway; the sidecar is away."""
    with system(tmp_path) as started:
        started.start_mock()
        write_models(tmp_path)
        started.start_gateway(**local_environment("invoker", tmp_path) | {"INVOKER_UPSTREAM_URL": started.upstream})
        yield started


def test_a_pod_whose_sidecar_is_away_is_ready(pod: System) -> None:
    """Each probe of the gateway succeeds: it serves, although `degraded`."""
    assert get(f"{pod.gateway_url}{probes('invoker')['readinessProbe']}")["status"] == "degraded"
    assert {name: status(pod.gateway_url + path) for name, path in probes("invoker").items()} == {
        "startupProbe": 200,
        "livenessProbe": 200,
        "readinessProbe": 200,
    }
    assert pod.invoke()[0] == 200


def test_a_pod_records(pod: System, tmp_path: Path) -> None:
    """The sidecar's probes succeed, and a call of the gateway arrives over the socket that both name."""
    pod.start_sidecar(**local_environment("metrics-sidecar", tmp_path))
    assert {name: status(pod.sidecar_url + path) for name, path in probes("metrics-sidecar").items()} == {
        "startupProbe": 200,
        "livenessProbe": 200,
    }
    assert pod.invoke()[0] == 200
    assert pod.settled("gpt-3.5", 1)["successful_invocations"] == 1
    readiness = eventually(lambda: get(f"{pod.gateway_url}/readyz"), lambda answer: answer["status"] == "ready")
    assert readiness["reasons"] == []
