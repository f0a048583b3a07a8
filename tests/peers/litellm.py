"""LiteLLM's proxy, in the environment that `make peers` makes: an upstream, and a caller, that nobody here wrote."""

import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.processes import ROOT, eventually

COMMAND = ROOT / ".peers" / "bin" / "litellm"
KEY = "sk-which-every-caller-of-the-proxy-has-to-send"
TEXT = "one two three four"
MOCKED: dict[str, tuple[str, Any]] = {
    "peer/chat/*": ("openai/*", TEXT),
    "peer/embeddings/*": ("openai/*", [0.5, 0.25]),
    "peer/limited/*": ("openai/*", "litellm.RateLimitError"),
    "peer/broken/*": ("openai/*", "litellm.InternalServerError"),
    "peer/claude/*": ("anthropic/*", TEXT),
}
"""Models that it answers for by itself, and with what."""
START_TIMEOUT_S = 90.0


def models_file(url: str) -> str:
    """Of the gateway: where those go."""
    return f"""
["peer/claude/*"]
protocol = "anthropic"
upstream = "{url}"

["peer/*"]
protocol = "openai"
upstream = "{url}/v1"
"""


@contextlib.contextmanager
def proxy(directory: Path, port: int, gateway_url: str) -> Iterator[None]:
    """It runs, until the end. Its models `by-…` are those of a gateway."""
    config = directory / "litellm.yaml"
    config.write_text(json.dumps({"model_list": _models(gateway_url), "litellm_settings": {"telemetry": False}}))
    environment = {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(directory)}
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with (
        (directory / "litellm.log").open("w") as log,
        subprocess.Popen([COMMAND, *arguments], cwd=directory, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: _lives(port) or process.poll() is not None, bool, START_TIMEOUT_S)
            assert process.poll() is None, (directory / "litellm.log").read_text()
            yield
        finally:
            process.kill()


def _models(gateway_url: str) -> list[dict[str, Any]]:
    mocked = [
        {"model_name": name, "litellm_params": {"model": model, "api_key": "none", "mock_response": says}}
        for name, (model, says) in MOCKED.items()
    ]
    called = [
        {"model_name": f"by-{name}/*", "litellm_params": {"model": model, "api_key": "a-key-of-its", "api_base": base}}
        for name, model, base in (
            ("openai", "openai/*", f"{gateway_url}/v1"),
            ("anthropic", "anthropic/*", gateway_url),
        )
    ]
    return mocked + called


def _lives(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False
