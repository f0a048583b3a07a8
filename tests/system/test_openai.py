"""OpenAI's and Anthropic's protocols through all processes: the mock server's answers, and one record of each."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import System, get, post, system

CHAT = b'{"model": "gpt", "messages": [{"role": "user", "content": "one two"}]}'
MESSAGES = b'{"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "one two"}]}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("openai")) as started:
        started.start_mock()
        started.start_sidecar()
        mock = started.upstream.removesuffix("/invoke")
        models = started.directory / "models.toml"
        tables = {"away": f"{mock}/nowhere", "org/m": mock}
        models.write_text(
            "".join(f'["{name}"]\nprotocol = "openai"\nupstream = "{url}"\n' for name, url in tables.items())
        )
        started.start_gateway(
            INVOKER_OPENAI_URL=f"{mock}/v1", INVOKER_ANTHROPIC_URL=mock, INVOKER_MODELS_FILE=str(models)
        )
        yield started


@pytest.mark.parametrize(
    ("path", "body", "model_id"),
    [
        ("/v1/chat/completions", CHAT, "gpt"),
        ("/v1/embeddings", b'{"model": "emb", "input": "a"}', "emb"),
        ("/v1/responses", b'{"model": "resp", "input": "a"}', "resp"),
        ("/v1/messages", MESSAGES, "claude"),
        ("/v1/messages/count_tokens", MESSAGES.replace(b"claude", b"count"), "count"),
    ],
)
def test_an_answer_is_the_model_servers(running: System, path: str, body: bytes, model_id: str) -> None:
    """The same as if it had been asked, and one record with the sizes of the bodies."""
    mock = running.upstream.removesuffix("/invoke")
    (status, answer), (_, direct) = post(f"{running.gateway_url}{path}", body), post(f"{mock}{path}", body)
    assert (status, answer.keys(), answer.get("usage")) == (200, direct.keys(), direct.get("usage"))
    running.settled(model_id, 1)
    (row,) = running.history(f"model_id={model_id}")["history"]
    assert (row["success"], row["input_size"]) == (True, len(body))
    assert row["output_size"] > 0


def test_a_form(running: System) -> None:
    """Its model stands behind a file of several megabytes."""
    file = b"RIFF" * 1_000_000
    parts = [b'name="file"; filename="a.wav"\r\n\r\n' + file, b'name="model"\r\n\r\nwhisper']
    body = b"".join(b"--b\r\nContent-Disposition: form-data; %b\r\n" % part for part in parts) + b"--b--\r\n"
    path, content_type = "/v1/audio/transcriptions", "multipart/form-data; boundary=b"
    direct = post(f"{running.upstream.removesuffix('/invoke')}{path}", body, content_type)
    assert post(f"{running.gateway_url}{path}", body, content_type) == direct
    assert direct[0] == 200
    running.settled("whisper", 1)
    (row,) = running.history("model_id=whisper")["history"]
    assert (row["success"], row["input_size"]) == (True, len(body))


@pytest.mark.parametrize(
    ("path", "body", "tags"),
    [
        ("/v1/chat/completions", CHAT.replace(b"gpt", b"tagged-1"), {"team": "search"}),
        ("/v1/messages", MESSAGES.replace(b"claude", b"tagged-2"), {"team": "search"}),
        (
            "/invoke",
            b'{"worklet_input": {"model_id": "tagged-3", "input": 1}, "tags": {"User": "\\u00e9"}}',
            {"team": "search", "user": "\u00e9"},
        ),
    ],
)
def test_tags_are_in_the_history(running: System, path: str, body: bytes, tags: dict[str, str]) -> None:
    """Those of headers, and of a body."""
    headers = {"Content-Type": "application/json", "X-Tag-Team": "search"}
    request = urllib.request.Request(f"{running.gateway_url}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 200
    model_id = next(name for name in ("tagged-1", "tagged-2", "tagged-3") if name.encode() in body)
    running.settled(model_id, 1)
    (row,) = running.history(f"model_id={model_id}")["history"]
    assert row["tags"] == tags


def test_an_error_is_the_model_servers(running: System) -> None:
    """With its status, and recorded as its fault."""
    request = urllib.request.Request(
        f"{running.gateway_url}/v1/chat/completions", b'{"model": "away"}', {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as error:
        assert (error.code, error.read()) == (404, b"404: Not Found")
    running.settled("away", 1)
    (row,) = running.history("model_id=away")["history"]
    assert row["error_type"] == "upstream_status"


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_the_models_of_the_models_file(running: System, slash: str) -> None:
    """Listed, before those of the settings' upstream, and each by its id, however that is written."""
    url = f"{running.gateway_url}/v1/models"
    assert [model["id"] for model in get(url)["data"]] == ["away", "org/m", "mock"]
    assert get(f"{url}/org{slash}m")["id"] == "org/m"
    assert get(f"{url}/other{slash}m")["id"] == "other/m"  # as the upstream says


def test_the_models_of_the_upstream(tmp_path: Path) -> None:
    """Where the file names none, what the upstream answers; where there is none, an error of the dialect."""
    with system(tmp_path) as started:
        started.start_mock()
        mock = started.upstream.removesuffix("/invoke")
        started.start_gateway(INVOKER_OPENAI_URL=f"{mock}/v1", INVOKER_ANTHROPIC_URL="")
        url = f"{started.gateway_url}/v1/models"
        assert get(url) == get(f"{mock}/v1/models")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, headers={"anthropic-version": "2023-06-01"}), timeout=30)
        with caught.value as error:
            assert (error.code, json.load(error)["type"]) == (404, "error")
