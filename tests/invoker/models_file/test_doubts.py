"""What a models file may say, though it has no effect or one that can't be meant."""

from pathlib import Path

import pytest

from invoker.models_file.reading import check_models
from tests.invoker.models_file.test_reading import settings, written

UP = 'upstream = "http://host:1/v1"\n'
OPENAI = f'[a]\nprotocol = "openai"\n{UP}'
SEVERAL = """\
[a]
{}
[[a.upstreams]]
url = "http://one/"
{}
[[a.upstreams]]
url = "http://two/"
{}
"""


def warnings(directory: Path, text: str) -> list[str]:
    models, found = check_models(settings(written(directory, text)))
    assert models is not None, found
    return [f"{finding.line}: {finding.text}" for finding in found if not finding.is_error]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[a]\n{UP}idle = 1", "3: [a] idle: has no effect: calls of worklet have no streams"),
        (f"[a]\n{UP}first_token = 1", "3: [a] first_token: has no effect: calls of worklet have no streams"),
        (f"[a]\n{UP}usage = 'ask'", "3: [a] usage: has no effect: calls of worklet have no streams"),
        (
            "[a]\nprotocol = 'anthropic'\nupstream = 'http://a'\nusage = 'ask'",
            "4: [a] usage: has no effect: streams of anthropic report their usage unasked",
        ),
        (f"{OPENAI}timeout = 5\nidle = 5", "5: [a] idle: has no effect: timeout, 5 s, is over before"),
        (f"{OPENAI}timeout = 5\nfirst_token = 9", "5: [a] first_token: has no effect: timeout, 5 s, is over before"),
        (f"[a]\n{UP}retries = 0\nretry_busy = true", "4: [a] retry_busy: has no effect: retries is 0"),
        (f"[a]\n{UP}retry_busy = true", "3: [a] retry_busy: has no effect: retries is 0, as there is one upstream"),
        (
            f"[a]\n{UP}limits = {{ max_in_flight = 5, queue_timeout = 1 }}",
            "3: [a] limits.queue_timeout: has no effect: queue is 0",
        ),
        (
            f"[a]\n{UP}prices = {{ input = 1, request = 1, output = 0 }}",
            "3: [a] prices.input: upstreams of worklet never report that: the cost of such calls is never known",
        ),
        (
            "[a]\nprotocol='anthropic'\nupstream='http://a'\nprices = { output = 1, reasoning = 2 }",
            "4: [a] prices.reasoning: upstreams of anthropic never report that: all is priced as the whole",
        ),
        (
            SEVERAL.format("", "weight = 2", "priority = 1"),
            "5: [a] upstreams[0].weight: has no effect: no other upstrea",
        ),
        (SEVERAL.format("", "", "").replace("two", "one") + "name = 'b'", "7: [a] upstreams[1].url: upstreams[0] has "),
        (
            SEVERAL.format("headers = { X = 'y' }", "headers = {}", "headers = {}"),
            "2: [a] headers: has no effect: all upstreams have headers of their own",
        ),
        (
            SEVERAL.format("api_key_env = 'K'", "api_key_env = 'K'", "api_key_file = 'k'"),
            "2: [a] api_key_env: has no effect: all upstreams have keys of their own",
        ),
        (f"[a]\n{UP}api_key_file = 'open'", "3: [a] api_key_file: every user of this machine can read it; chmod o-r"),
        (f"[a]\n{UP}headers = {{ authorization = 's3cret' }}", "3: [a] headers.authorization: its value stands here"),
        (f"[a]\n{UP}[a.headers]\nX-Api-Token = 's3cret'", "4: [a] headers.X-Api-Token: its value stands here for all"),
        (
            "[a]\nupstream = 'http://u:s3cret@host/'",
            "2: [a] upstream: a secret stands in it for all who read this file",
        ),
        (
            "[a]\nupstream = 'http://host/?api-key=s3cret'",
            "2: [a] upstream: a secret stands in it for all who read this",
        ),
        (
            "[a]\nupstream = 'http://models.example/x'\napi_key_env = 'K'",
            "2: [a] upstream: what is told it, a key too, goes over the net as plain text; https:// encrypts it",
        ),
        ("[a]\nupstream = 'http://8.8.8.8/x'\napi_key_env = 'K'", "2: [a] upstream: what is told it, a key too, goes"),
        (OPENAI.replace("/v1", ""), "3: [a] upstream: paths of calls such as /chat/completions are put behind it, and"),
        (
            OPENAI.replace("/v1", "/v1/chat/completions"),
            "3: [a] upstream: it is a base: paths of calls such as this one",
        ),
        (
            OPENAI.replace("openai", "anthropic"),
            "3: [a] upstream: paths of calls are put behind it, and begin with /v1",
        ),
        (
            f'["b*".defaults]\ntimeout = 1\n["b*".defaults.openai]\n[a]\n{UP}',
            '1: ["b*"] defaults: has no effect: no table has a name that begins so',
        ),
        (
            f'["a*".defaults]\ntimeout = 1\n["a*".defaults.openai]\n[a]\n{UP}',
            '3: ["a*"] defaults.openai: has no effect: no table of openai has a name that begins so',
        ),
        (
            f'["*".defaults.worklet]\nidle = 1\n[a]\n{UP}',
            '2: ["*"] defaults.worklet.idle: has no effect: calls of worklet have no streams',
        ),
    ],
)
def test_what_has_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    """It is told with its place, and alone; no secret is."""
    monkeypatch.setenv("K", "s3cret")
    for name, mode in (("k", 0o640), ("open", 0o644)):
        (tmp_path / name).write_text("s3cret")
        (tmp_path / name).chmod(mode)
    (found,) = warnings(tmp_path, text)
    assert found.startswith(said)
    assert "s3cret" not in found


def test_each_that_has_a_priority_which_all_have(tmp_path: Path) -> None:
    """Any of them may be meant to have another."""
    found = warnings(tmp_path, SEVERAL.format("", "priority = 3", "priority = 3"))
    assert found == [
        f"{line}: [a] upstreams[{number}].priority: has no effect: all upstreams have the same"
        for number, line in ((0, 5), (1, 8))
    ]


@pytest.mark.parametrize(
    "text",
    [
        f'["*".defaults]\nidle = 5\nusage = "as_is"\nprices = {{ input = 1 }}\n[a]\n{UP}timeout = 2',
        f'["*".defaults.openai]\nfirst_token = 5\n[a]\n{UP}',
        f'["*".defaults]\nretry_busy = true\nretries = 0\n[a]\n{UP}',
        SEVERAL.format("retry_busy = true", "", ""),
        f"{OPENAI}timeout = 9\nidle = 2\nusage = 'ask'\nprices = {{ input = 1, output = 1, reasoning = 1 }}",
        SEVERAL.format("api_key_env = 'K'", "weight = 2", "weight = 3\napi_key_env = 'K'\nheaders = { X-Team = 'a' }"),
        "[a]\nupstream = 'https://models.example/x'\napi_key_env = 'K'",
        "[a]\nupstream = 'http://models.example/x'",
        *(
            f"[a]\nupstream = 'http://{host}/x'\napi_key_env = 'K'"
            for host in (
                "localhost:1",
                "127.0.0.1",
                "[::1]:8",
                "10.0.0.7",
                "vllm:8000",
                "a.svc.cluster.local",
                "[fe80::1]",
            )
        ),
        "[a]\nupstream = 'http+unix://%2Frun%2Fa.sock/'\nprotocol = 'openai'\napi_key_file = 'k'",
    ],
)
def test_what_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Nothing is said of it; nor of defaults that are not for a table alone."""
    monkeypatch.setenv("K", "s3cret")
    (tmp_path / "k").write_text("s3cret")
    (tmp_path / "k").chmod(0o600)
    assert warnings(tmp_path, text) == []
