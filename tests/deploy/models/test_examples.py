"""Each example of a models file is one that a gateway takes, and its comments show a call of a model that it has."""

import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from invoker.models_file.reading import load_models
from invoker.process.check_command import check
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.openai import OpenAI
from invoker.settings import InvokerSettings

DIRECTORY = Path(__file__).parent.parent.parent.parent / "deploy/models"
FILES = sorted(DIRECTORY.glob("*.toml"))
PATHS = {
    "openai": "|".join(OpenAI.operations),
    "anthropic": "|".join(Anthropic.operations),
    "kserve": r"/v2/models/[^/]+/infer",
}
SERVERS = ["anthropic", "litellm", "mlserver", "ollama", "openai", "tgi", "triton", "vllm"]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set, as their comments say."""
    for path in FILES:
        for name in re.findall(r'api_key_env = "(\w+)"', path.read_text(encoding="utf-8")):
            monkeypatch.setenv(name, "sk-0")


def test_there_is_one_for_each_server() -> None:
    assert [path.stem for path in FILES] == SERVERS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_fine(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without errors and without warnings."""
    assert check(path) == 0
    assert re.fullmatch(
        rf"{re.escape(str(path))}: \d models?, \d patterns?, \d endpoints?: fine\n", capfd.readouterr().out
    )


def call_in(path: Path) -> tuple[str, str, bytes]:
    """What its comments have one type: the path, the headers and the body."""
    comments = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = "\n".join(comments).replace("\\\n", " ")
    begin = text.index("curl localhost:8000")
    words = shlex.split(text[begin : text.index("\n\n", begin) if "\n\n" in text[begin:] else len(text)])
    return urlsplit(f"//{words[1]}").path, " ".join(words), words[words.index("-d") + 1].encode()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_call_is_one_of_a_model_that_it_has(path: Path) -> None:
    """By the protocol that the model has there, to a path that the gateway serves."""
    target, words, body = call_in(path)
    said = json.loads(body)
    models = load_models(InvokerSettings(models_file=path, openai_url="", anthropic_url="", kserve_url=""))
    model_id = said.get("model") or target.split("/")[3]
    (protocol,) = [name for name in PATHS if models.find(model_id, name) is not None]
    assert re.fullmatch(PATHS[protocol], target)
    assert "Content-Type: application/json" in words
