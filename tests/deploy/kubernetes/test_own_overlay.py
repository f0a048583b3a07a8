"""An overlay of one's own works as its page shows it."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from invoker.models_file.reading import load_models
from invoker.settings import InvokerSettings
from tests.deploy.kubernetes.manifests import KUBERNETES, OVERLAYS, ROOT, Resource, build

PAGE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
MODELS_PAGE = (ROOT / "docs/models-file.md").read_text(encoding="utf-8")
MODELS = "".join(re.findall(r"```toml\n(.*?)```", MODELS_PAGE, re.DOTALL))


@pytest.fixture
def built(tmp_path: Path) -> list[Resource]:
    """The page's overlay, in the place that it names, with the models file of its page beside it."""
    (example,) = re.findall(r"```yaml\n# (deploy/kubernetes/\S+)\n(.*?)```", PAGE, re.DOTALL)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / example[0]
    path.parent.mkdir()
    path.write_text(example[1], encoding="utf-8")
    (path.parent / "models.toml").write_text(MODELS, encoding="utf-8")
    return build(path.parent)


def of_name(resources: list[Resource], kind: str, start: str) -> Resource:
    (found,) = [one for one in resources if one["kind"] == kind and one["metadata"]["name"].startswith(start)]
    return found


def test_an_overlay_brings_image_and_models(
    built: list[Resource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both containers run the image that it names, and the gateway reads the models that lie beside it."""
    spec = of_name(built, "StatefulSet", "gateway")["spec"]["template"]["spec"]
    images = {one["image"] for one in (*spec["initContainers"], *spec["containers"])}
    assert len(images) == 1
    assert images.isdisjoint({"invocation-gateway:0.1.0"})
    (text,) = of_name(built, "ConfigMap", "models")["data"].values()
    assert tomllib.loads(text) == tomllib.loads(MODELS)
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    for variable in re.findall(r'api_key_env = "(\w+)"', text):
        monkeypatch.setenv(variable, "sk-0")
    names = load_models(InvokerSettings(models_file=path)).names
    assert sorted(names) == sorted({*tomllib.loads(MODELS)} - {"*"})


def test_an_overlay_changes_a_setting_and_keeps_the_others(built: list[Resource]) -> None:
    """The literals of an overlay are merged into the base's settings."""
    (base,) = [one for one in build(KUBERNETES / "base") if one["metadata"]["name"].startswith("gateway-settings")]
    own = of_name(built, "ConfigMap", "gateway-settings")
    changed = {key for key, value in own["data"].items() if base["data"].get(key) != value}
    assert changed == {"INVOKER_MAX_IN_FLIGHT"}
    assert own["data"].keys() >= base["data"].keys()
    assert own["metadata"]["name"] != base["metadata"]["name"]


@pytest.mark.parametrize("overlay", [one for one in OVERLAYS if one.startswith("overlays/")])
def test_every_overlay_is_named(overlay: str) -> None:
    """The page says what each is for."""
    assert f"deploy/kubernetes/{overlay}" in PAGE
