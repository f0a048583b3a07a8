"""Gateway and sidecar in one pod: settings, ports, volumes, order of start and end, rights."""

import dataclasses
import tomllib

import pytest

from deploy.mock_server import MockSettings
from invoker.process.parent import KILL_AFTER_S
from invoker.settings import InvokerSettings
from metrics_sidecar.__main__ import HTTP_GRACE_S
from metrics_sidecar.settings import SidecarSettings
from tests.deploy.kubernetes.manifests import (
    COMMANDS,
    OVERLAYS,
    ROOT,
    container,
    containers,
    environment,
    find,
    gateway_pod,
    of_kind,
    pods,
    resources,
    selects,
)

SETTINGS = {"invoker": InvokerSettings, "metrics-sidecar": SidecarSettings, "mock-server": MockSettings}


def field_of(command: str, env: str) -> "dataclasses.Field[object]":
    """The setting that the variable sets; an AssertionError if there is none."""
    found = [field for field in dataclasses.fields(SETTINGS[command]) if field.metadata["env"] == env]
    assert len(found) == 1, f"{command} has no setting {env}"
    return found[0]


def setting(overlay: str, command: str, env: str) -> str:
    """What the setting is in that container, as text."""
    return environment(overlay, command).get(env, str(field_of(command, env).default))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_variable_is_a_setting(command: str) -> None:
    """Each has a value that its setting takes."""
    for env, value in environment("overlays/mock", command).items():
        field = field_of(command, env)
        assert field.metadata["type"].convert(value, None, None) is not None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_a_console_script(command: str) -> None:
    """The image has what a container runs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert command in project["scripts"]
    assert container("overlays/mock", command)["image"] == f"invocation-gateway:{project['version']}"


@pytest.mark.parametrize(
    ("command", "prefix"), [("invoker", "INVOKER"), ("metrics-sidecar", "SIDECAR"), ("mock-server", "MOCK")]
)
def test_the_port_is_the_one_listened_on(command: str, prefix: str) -> None:
    """On all addresses; probes name that port, and ask for it by its name."""
    one = container("overlays/mock", command)
    (port,) = one["ports"]
    assert setting("overlays/mock", command, f"{prefix}_PORT") == str(port["containerPort"])
    assert setting("overlays/mock", command, f"{prefix}_HOST") == "0.0.0.0"
    probes = [probe["httpGet"]["port"] for name, probe in one.items() if name.endswith("Probe")]
    assert probes
    assert set(probes) == {port["name"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_and_policies_open_ports_that_exist(overlay: str) -> None:
    """By number, because Kubernetes before 1.32 doesn't find a sidecar container's port by name."""
    for resource in (*of_kind(overlay, "Service"), *of_kind(overlay, "NetworkPolicy")):
        spec = resource["spec"]
        selector = spec["selector"] if resource["kind"] == "Service" else spec["podSelector"]["matchLabels"]
        (pod,) = [one for one in pods(overlay) if selects(selector, one)]
        every = (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])
        open_ports = {port["containerPort"] for one in every for port in one["ports"]}
        used = [port.get("targetPort") for port in spec.get("ports", [])]
        used += [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        assert used
        assert set(used) <= open_ports


@pytest.mark.parametrize(
    ("command", "envs"),
    [
        ("invoker", ["INVOKER_JOURNAL_DIR", "SIDECAR_SOCKET", "INVOKER_MODELS_FILE"]),
        ("metrics-sidecar", ["SIDECAR_DATA_DIR", "SIDECAR_SOCKET"]),
    ],
)
def test_what_is_written_is_on_a_volume(command: str, envs: list[str]) -> None:
    """The root file system is read-only: each path lies below a mount, and each mount is a volume of the pod."""
    mounts = {mount["mountPath"]: mount["name"] for mount in container("base", command)["volumeMounts"]}
    for env in envs:
        path = setting("base", command, env)
        assert [mount for mount in mounts if path == mount or path.startswith(f"{mount}/")], path
    claims = find("base", "StatefulSet", "gateway")["spec"]["volumeClaimTemplates"]
    volumes = {volume["name"] for volume in gateway_pod()["volumes"]} | {claim["metadata"]["name"] for claim in claims}
    assert set(mounts.values()) <= volumes


def test_both_processes_use_one_socket() -> None:
    """On a volume of the pod's own that both have mounted."""
    paths = {setting("base", command, "SIDECAR_SOCKET") for command in ("invoker", "metrics-sidecar")}
    assert len(paths) == 1
    (socket,) = [volume for volume in gateway_pod()["volumes"] if volume["name"] == "socket"]
    assert "emptyDir" in socket


def test_the_journal_is_not_the_root_of_its_volume() -> None:
    """A new file system has a lost+found there, which is no journal and not readable."""
    mounts = {mount["mountPath"] for mount in container("base", "invoker")["volumeMounts"]}
    assert setting("base", "invoker", "INVOKER_JOURNAL_DIR") not in mounts


def test_the_journal_fits_its_claim() -> None:
    """The bound is met before the disk is full."""
    claims = find("base", "StatefulSet", "gateway")["spec"]["volumeClaimTemplates"]
    (size,) = [
        one["spec"]["resources"]["requests"]["storage"] for one in claims if one["metadata"]["name"] == "journal"
    ]
    assert int(setting("base", "invoker", "INVOKER_JOURNAL_MAX_BYTES")) < int(size.removesuffix("Gi")) * 1024**3


def test_the_sidecar_is_there_before_the_gateway_and_after_it() -> None:
    """A native sidecar container with a startup probe; without a readiness probe, which would stop the callers."""
    (sidecar,) = gateway_pod()["initContainers"]
    assert (sidecar["command"], sidecar["restartPolicy"]) == (["metrics-sidecar"], "Always")
    assert "startupProbe" in sidecar
    assert "readinessProbe" not in sidecar


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_gets_the_time_that_its_end_takes(overlay: str) -> None:
    """Delay, calls in flight, journal, workers, then the sidecar: nothing of it is cut off by the kubelet."""
    delay_s = float(setting(overlay, "invoker", "INVOKER_DRAIN_DELAY_S"))
    gateway_s = float(setting(overlay, "invoker", "INVOKER_SHUTDOWN_GRACE_S")) + KILL_AFTER_S
    sidecar_s = float(setting(overlay, "metrics-sidecar", "SIDECAR_SHUTDOWN_GRACE_S")) + HTTP_GRACE_S
    assert gateway_pod(overlay)["terminationGracePeriodSeconds"] > delay_s + gateway_s + sidecar_s


def test_a_rollout_cuts_no_call() -> None:
    """Calls in flight get as long as the longest one may take."""
    grace_s = float(setting("base", "invoker", "INVOKER_SHUTDOWN_GRACE_S"))
    assert grace_s >= float(setting("base", "invoker", "INVOKER_TIMEOUT_S"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_has_more_rights_than_it_needs(overlay: str) -> None:
    """As the `restricted` Pod Security Standard wants it, which the namespace enforces, and a read-only root."""
    labels = find(overlay, "Namespace", "invocation-gateway")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(overlay):
        rights = pod["spec"]["securityContext"]
        assert (rights["runAsNonRoot"], rights["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert pod["spec"]["automountServiceAccountToken"] is False
    for one in containers(overlay):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {*one["resources"]["requests"]} == {"cpu", "memory"}
        assert "memory" in one["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select(overlay: str) -> None:
    """Budget, spread and the set itself select the gateway's pods and no others."""
    workload = find(overlay, "StatefulSet", "gateway")["spec"]
    budget = find(overlay, "PodDisruptionBudget", "gateway")["spec"]
    spread = workload["template"]["spec"]["topologySpreadConstraints"]
    for selector in (workload["selector"], budget["selector"], *(one["labelSelector"] for one in spread)):
        selected = [pod for pod in pods(overlay) if selects(selector["matchLabels"], pod)]
        assert selected == [workload["template"]]
    assert workload["serviceName"] in {one["metadata"]["name"] for one in of_kind(overlay, "Service")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_config_map_of_a_pod_exists(overlay: str) -> None:
    """Under the name with its hash, so that a change rolls the pods."""
    made = {one["metadata"]["name"] for one in resources(overlay) if one["kind"] == "ConfigMap"}
    volumes = [volume for pod in pods(overlay) for volume in pod["spec"].get("volumes", []) if "configMap" in volume]
    used = {volume["configMap"]["name"] for volume in volumes}
    used |= {source["configMapRef"]["name"] for one in containers(overlay) for source in one["envFrom"]}
    assert used <= made
    assert {name.rpartition("-")[0] for name in used} >= {"gateway-settings", "sidecar-settings", "models"}
