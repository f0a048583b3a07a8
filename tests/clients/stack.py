"""A running stack that the official clients call, and what is recorded of their calls."""

import contextlib
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from tests.processes import Json, Process, System, children, system
from tests.tap import Tap, tapped

KEY = "a-key-of-the-callers"
OWN_KEY = "a-key-of-the-upstreams"
MODELS = """
["hurried-chat-*"]
protocol = "openai"
upstream = "{tap}/v1"
timeout = 0.3

["org/near"]
protocol = "openai"
upstream = "{tap}/v1"

["org/away"]
protocol = "openai"
upstream = "http://127.0.0.1:1/v1"

["claude-away"]
protocol = "anthropic"
upstream = "http://127.0.0.1:1"

["tensors-away"]
protocol = "kserve"
upstream = "http://127.0.0.1:1"

["as-is/*"]
protocol = "openai"
upstream = "{tap}/v1"
usage = "as_is"

["own-key-openai/*"]
protocol = "openai"
upstream = "{tap}/v1"
api_key_env = "OWN_KEY"

["own-key-anthropic/*"]
protocol = "anthropic"
upstream = "{tap}"
api_key_env = "OWN_KEY"

["replaced-openai/*"]
protocol = "openai"
upstream = "{tap}/v1"
first_token = 1.0
fallback = ["stand-in-openai/big"]

["stand-in-openai/*"]
protocol = "openai"
upstream = "{tap}/v1"
upstream_model = "its-own/*"

["replaced-anthropic/*"]
protocol = "anthropic"
upstream = "{tap}"
first_token = 1.0
fallback = ["stand-in-anthropic/big"]

["stand-in-anthropic/*"]
protocol = "anthropic"
upstream = "{tap}"
upstream_model = "its-own/*"

["hurried-message-*"]
protocol = "anthropic"
upstream = "{tap}"
timeout = 0.3
"""


class Stack:
    """Mock server, sidecar and gateway, with a tap between the gateway and the mock server."""

    def __init__(self, started: System, gateway: Process, mock: str, tap: Tap) -> None:
        self.tap = tap
        self.mock = mock
        self._gateway = gateway
        self._system = started
        self._fences = 0

    @property
    def gateway_url(self) -> str:
        return self._system.gateway_url

    def openai(self, **settings: Any) -> OpenAI:
        """A client that tries once, if it isn't told otherwise."""
        return OpenAI(**self._settings("/v1", settings))

    def async_openai(self, **settings: Any) -> AsyncOpenAI:
        return AsyncOpenAI(**self._settings("/v1", settings))

    def anthropic(self, **settings: Any) -> Anthropic:
        return Anthropic(**self._settings("", settings))

    def async_anthropic(self, **settings: Any) -> AsyncAnthropic:
        return AsyncAnthropic(**self._settings("", settings))

    def behave(self, model_id: str, **behaviour: Any) -> None:
        """What the mock server does to calls of this model from now on."""
        url = f"{self.mock}/config/{model_id}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(behaviour).encode(), method="PUT")):
            pass

    def fail(self, model_id: str, status: int, retry_after: str | None = None) -> None:
        """Each call of this model, with this status, until it behaves otherwise."""
        self.behave(model_id, failure_rate=1.0, failure_status=status, retry_after=retry_after)

    def records(self, model_id: str, count: int) -> list[Json]:
        """The rows of a model's calls, oldest first, once there are so many; fails if there are more."""
        self._system.settled(model_id, count)
        rows = self.rows(f"model_id={model_id}")
        assert len(rows) == count, rows
        return rows

    def rows(self, query: str) -> list[Json]:
        """Those of the history that a query finds, oldest first."""
        self._fence()
        rows: list[Json] = self._system.history(query)["history"]
        return rows[::-1]

    def record(self, model_id: str) -> Json:
        """The row of a model's only call."""
        (row,) = self.records(model_id, 1)
        return row

    def kill_worker(self) -> None:
        """The gateway's only one; returns when the next one serves."""
        served = len(self._gateway.events("worker.listening"))
        for pid in children(self._gateway.pid):
            os.kill(pid, signal.SIGKILL)
        self._gateway.event("worker.listening", served + 1)

    def total(self) -> int:
        """How many records there are, but for those of fences."""
        self._fence()
        total: int = self._system.history("limit=1")["total_count"]
        return total - self._fences

    def _fence(self) -> None:
        """A call whose record comes after those of all calls that have been answered."""
        assert self._system.invoke("fence")[0] == 200
        self._fences += 1
        self._system.settled("fence", self._fences)

    def _settings(self, path: str, settings: dict[str, Any]) -> dict[str, Any]:
        return {"base_url": self.gateway_url + path, "api_key": KEY, "max_retries": 0, "timeout": 30.0, **settings}


@contextlib.contextmanager
def stack(directory: Path, more_models: str = "") -> Iterator[Stack]:
    """One that is gone at the end. `more_models`: of the models file."""
    with system(directory) as started:
        mock = started.start_mock().event("mock.listening")["url"]
        started.start_sidecar()
        with tapped(mock) as tap:
            models = directory / "models.toml"
            models.write_text(MODELS.format(tap=tap.url) + more_models)
            gateway = started.start_gateway(
                INVOKER_OPENAI_URL=f"{tap.url}/v1",
                INVOKER_ANTHROPIC_URL=tap.url,
                INVOKER_KSERVE_URL=tap.url,
                INVOKER_MODELS_FILE=str(models),
                OWN_KEY=OWN_KEY,
            )
            yield Stack(started, gateway, mock, tap)
