"""The load test in the dialects, against a gateway, a sidecar and a mock server that run."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.processes import PROJECT
from tests.processes import System, system

MODELS = "gpt=3,claude=1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("load")) as started:
        started.start_mock()
        base = started.upstream.removesuffix("/invoke")
        started.start_sidecar()
        started.start_gateway(INVOKER_OPENAI_URL=f"{base}/v1", INVOKER_ANTHROPIC_URL=base, INVOKER_KSERVE_URL=base)
        yield started


def behave(stack: System, model: str, **behaviour: Any) -> None:
    """Of the mock server."""
    url = f"{stack.upstream.removesuffix('/invoke')}/config/{model}"
    request = urllib.request.Request(url, json.dumps(behaviour).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass


def load(stack: System, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "deploy.load_test", "--url", stack.gateway_url, "--duration", "1", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("stream", [[], ["--stream"]])
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_every_answer_is_whole_and_recorded(stack: System, protocol: str, stream: list[str]) -> None:
    """Tokens and events are counted as they come: five words are five tokens, and what is around them."""
    arguments = ["--protocol", protocol, *stream, "--rate", "50", "--models", MODELS]
    code, output = load(stack, "--json", *arguments)
    result = json.loads(output)
    assert (code, result["agree"], result["differences"]) == (0, True, [])
    sent = result["sent"]
    assert sent == result["successful"] > 10
    assert (result["input_tokens"], result["output_tokens"]) == (5 * sent, 5 * sent)
    if stream:
        around = {"openai": 4, "anthropic": 6}[protocol]
        assert result["events"] == (5 + around) * sent
        assert result["events_per_second"] > 0
        assert 0 < result["first_output_ms"]["p50"] <= result["latency_ms"]["max"]
    else:
        assert "first_output_ms" not in result


def test_inferences(stack: System) -> None:
    """Likewise, of models with slashes, and of some that fail."""
    behave(stack, "failing", failure_rate=0.5)
    arguments = ["--protocol", "kserve", "--rate", "50", "--models", "org/sum=3,failing=1", "--input-size", "100"]
    code, output = load(stack, "--json", *arguments)
    result = json.loads(output)
    assert (code, result["agree"], result["differences"]) == (0, True, [])
    assert result["models"]["org/sum"]["successful"] == result["models"]["org/sum"]["sent"] > 10
    assert result["models"]["failing"]["failed"] > 0
    assert "input_tokens" not in result


def test_broken_streams_are_failures_in_both_accounts(stack: System) -> None:
    """Whether it is cut off, ends early, or says that it fails."""
    behave(stack, "cut", stream={"cut_at_byte": 600})
    behave(stack, "short", stream={"end_after_tokens": 2})
    behave(stack, "erring", stream={"error_after_tokens": 1})
    behave(stack, "failing", failure_rate=0.5)
    models = "cut=1,short=1,erring=1,failing=1"
    code, output = load(stack, "--json", "--protocol", "openai", "--stream", "--rate", "100", "--models", models)
    result = json.loads(output)
    assert (code, result["differences"]) == (0, [])
    for model in ("cut", "short", "erring"):
        assert result["models"][model]["failed"] == result["models"][model]["sent"]
    assert result["unknown"] == 0


def test_the_summary_has_a_line_for_each(stack: System) -> None:
    """Events, tokens, and when output began."""
    _, output = load(stack, "--protocol", "openai", "--stream", "--rate", "20")
    lines = output.splitlines()
    assert any(line.startswith("events ") and line.endswith("per second") for line in lines)
    assert any(line.startswith("tokens ") for line in lines)
    assert any(line.startswith("first output (from when due)") for line in lines)
    assert lines[-1] == "agree: yes"


@pytest.mark.parametrize("protocol", ["worklet", "kserve"])
def test_some_have_no_streams(protocol: str) -> None:
    """One line that names the flag and what is allowed."""
    command = [sys.executable, "-m", "deploy.load_test", "--stream", "--protocol", protocol]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--stream" in done.stderr
    assert "--protocol openai or anthropic" in done.stderr
