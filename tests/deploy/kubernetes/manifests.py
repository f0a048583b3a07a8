"""What kustomize makes of deploy/kubernetes, as Python objects."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.debian import unpack

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "overlays/mock", "overlays/operator")
COMMANDS = ("metrics-sidecar", "invoker", "mock-server")

Resource = dict[str, Any]


def build(directory: Path) -> list[Resource]:
    """The resources of a kustomization; an AssertionError with kustomize's words if it can't be built."""
    kustomize = unpack("kustomize", "trixie") / "usr/bin/kustomize"
    done = subprocess.run([kustomize, "build", directory], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def resources(overlay: str) -> list[Resource]:
    """The resources of one of `OVERLAYS`."""
    return build(KUBERNETES / overlay)


def name_of(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def find(overlay: str, kind: str, name: str) -> Resource:
    """The one resource of that kind and name."""
    (found,) = [one for one in resources(overlay) if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def gateway_pod(overlay: str = "base") -> Resource:
    """The spec of the pod of gateway and sidecar."""
    spec: Resource = find(overlay, "StatefulSet", "gateway")["spec"]["template"]["spec"]
    return spec


def of_kind(overlay: str, kind: str) -> list[Resource]:
    return [one for one in resources(overlay) if one["kind"] == kind]


def pods(overlay: str) -> list[Resource]:
    """The pod templates."""
    return [one["spec"]["template"] for one in resources(overlay) if one["kind"] in ("StatefulSet", "Deployment")]


def containers(overlay: str) -> list[Resource]:
    """All containers of all pods, sidecars first."""
    specs = [pod["spec"] for pod in pods(overlay)]
    return [one for spec in specs for one in (*spec.get("initContainers", []), *spec["containers"])]


def container(overlay: str, command: str) -> Resource:
    """The one container that runs the command."""
    (found,) = [one for one in containers(overlay) if one["command"] == [command]]
    return found


def environment(overlay: str, command: str) -> dict[str, str]:
    """What the container of that command finds in its environment."""
    found: dict[str, str] = {}
    for source in container(overlay, command)["envFrom"]:
        found |= find(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found


def selects(selector: dict[str, str], resource: Resource) -> bool:
    """Whether a selector's matchLabels match the resource's labels."""
    labels: dict[str, str] = resource["metadata"].get("labels", {})
    return selector.items() <= labels.items()
