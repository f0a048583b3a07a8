"""Every resource has only fields that its API knows, with values that it takes."""

import copy
import json
import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped] # it publishes no types
import kubernetes_validate  # type: ignore[import-untyped] # its types are not marked as such
import pytest

from tests.deploy.kubernetes.manifests import OVERLAYS, ROOT, Resource, find, name_of, resources

CUSTOM = {"ServiceMonitor": "servicemonitor.json", "PrometheusRule": "prometheusrule.json"}
"""Kinds of the Prometheus operator: the fields of its CRDs, see the schemas' comments."""
OLDEST, NEWEST = 30, 37
"""Minor versions: the first that is promised, and the last one known."""


def validate(resource: Resource, version: str) -> None:
    """Raises ValidationError for a field that is unknown or has a wrong value."""
    if resource["kind"] in CUSTOM:
        schema = json.loads((Path(__file__).parent / "schemas" / CUSTOM[resource["kind"]]).read_text(encoding="utf-8"))
        jsonschema.validate(resource, schema)
    else:
        assert kubernetes_validate.validate(resource, version, strict=True) == version


@pytest.mark.parametrize("minor", range(OLDEST, NEWEST + 1))
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_is_valid(overlay: str, minor: int) -> None:
    """Strictly, for each version of Kubernetes from the oldest that its page names."""
    for resource in resources(overlay):
        validate(resource, f"1.{minor}")


def test_the_page_names_the_oldest_version() -> None:
    """Which is the one that is tested."""
    (named,) = re.findall(r"Kubernetes ≥ 1\.(\d+)", (ROOT / "docs/deployment.md").read_text(encoding="utf-8"))
    assert int(named) == OLDEST


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("StatefulSet", "gateway", ("spec", "template", "spec", "initContainers", 0)),
        ("HorizontalPodAutoscaler", "gateway", ("spec", "behavior", "scaleDown")),
        ("NetworkPolicy", "gateway", ("spec",)),
        ("ServiceMonitor", "metrics-sidecar", ("spec", "endpoints", 0)),
        ("PrometheusRule", "invocation-gateway-models", ("spec", "groups", 0, "rules", 0)),
    ],
)
def test_a_misspelt_field_is_noticed(kind: str, name: str, path: tuple[str | int, ...]) -> None:
    """The checks above can fail: wherever the field is, in Kubernetes' own kinds and in the operator's."""
    resource = copy.deepcopy(find("overlays/operator", kind, name))
    place = resource
    for step in path:
        place = place[step]  # type: ignore[index] # a list's steps are numbers
    place["misspelt"] = "x"
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError), match="misspelt"):
        validate(resource, f"1.{NEWEST}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_are_given_once(overlay: str) -> None:
    """No resource overwrites another one, and each is in the namespace of the kustomization or is it."""
    made = resources(overlay)
    assert len({name_of(one) for one in made}) == len(made)
    namespaces = {one["metadata"].get("namespace") for one in made if one["kind"] != "Namespace"}
    assert namespaces == {find(overlay, "Namespace", "invocation-gateway")["metadata"]["name"]}
