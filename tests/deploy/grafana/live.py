"""A real run for the dashboards to show: mock server, sidecar, gateway and a Prometheus that scrapes and alerts."""

import contextlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.deploy.grafana.prometheus import prometheus
from tests.processes import System, eventually, get, post, system

STEADY, FAILING, STRANGE, BEYOND = MODELS = ("gpt-3.5", "bert-base", "a|b.c/d #1&x=é", "over-the-cap")
"""The sidecar has labels for three of them."""

MODELS_FILE = f"""
["{STEADY}"]
upstream = "{{0}}"
protocol = "openai"
prices = {{{{ input = 2.5, output = 10 }}}}

["{FAILING}"]
upstream = "{{0}}"
protocol = "openai"
usage = "as_is"

["over-*"]
upstream = "{{1}}"
limits = {{{{ max_in_flight = 1, queue = 1, queue_timeout = 0.01 }}}}
fallback = ["spare"]

["spare*"]
upstream = "{{1}}"
"""
"""Of streams: one model has prices, the other doesn't say how many tokens it used. And one has less room than calls."""

FILLER = "f" * 250
CALLERS = 8

MOCK = {
    "latency": "lognormal:10ms,0.5",
    "models": {FAILING: {"failure_rate": 0.5}, STRANGE: {"failure_rate": 0.3}, FILLER: {"latency": "fixed:0ms"}},
}


@dataclass
class Live:
    """Everything still runs; `start` and `end` enclose the load."""

    system: System
    prometheus_url: str
    start: float = field(default_factory=time.time)
    end: float = 0.0
    trace_ids: list[str] = field(default_factory=list)

    @property
    def time_range_s(self) -> int:
        return round(self.end - self.start) + 1

    def at_end(self, expression: str) -> list[dict[str, Any]]:
        """An instant vector, as a figure or a table asks for it."""
        found: list[dict[str, Any]] = self.ask("query", query=expression, time=self.end)["result"]
        return found

    def over_time(self, expression: str) -> list[dict[str, Any]]:
        """Series over the whole run, as a graph asks for them."""
        data = self.ask("query_range", query=expression, start=self.start, end=self.end, step=1)
        found: list[dict[str, Any]] = data["result"]
        return found

    def ask(self, path: str, **parameters: object) -> Any:
        """The `data` of an answer of Prometheus' API."""
        return get(f"{self.prometheus_url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")["data"]

    def call(self, model_id: str) -> None:
        """One invocation that belongs to a trace, whatever its end."""
        self.post("/invoke", {"worklet_input": {"model_id": model_id, "input": [1, 2, 3]}})

    def chat(self, model_id: str) -> None:
        """One more, that is streamed."""
        said = [{"role": "user", "content": "one two three"}]
        self.post("/v1/chat/completions", {"model": model_id, "stream": True, "messages": said})

    def post(self, path: str, body: object) -> None:
        trace_id = f"{len(self.trace_ids) + 1:032x}"
        self.trace_ids.append(trace_id)
        headers = {"Content-Type": "application/json", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        request = urllib.request.Request(f"{self.system.gateway_url}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()

    def recorded(self, model_id: str) -> int:
        """Invocations of the model that are in the history."""
        count: int = self.system.history(f"limit=1&model_id={urllib.parse.quote(model_id)}")["total_count"]
        return count


@contextlib.contextmanager
def live_run(directory: Path) -> Iterator[Live]:
    """Load with failures, refusals and more models than labels; a sidecar that is away; a journal that fills up."""
    with system(directory) as processes:
        mock = processes.start_mock().event("mock.listening")["url"]
        configure_mock(mock)
        sidecar = processes.start_sidecar(SIDECAR_MAX_MODELS="3")
        models = directory / "models.toml"
        models.write_text(MODELS_FILE.format(f"{mock}/v1", f"{mock}/invoke"), encoding="utf-8")
        gateway = processes.start_gateway(INVOKER_JOURNAL_MAX_BYTES=str(1024 * 1024), INVOKER_MODELS_FILE=str(models))
        with prometheus(directory, processes.sidecar_url) as url, ThreadPoolExecutor(CALLERS) as callers:
            live = Live(processes, url)
            for model_id in MODELS:  # one after the other, so that the last is the one without a label
                live.call(model_id)
                eventually(partial(live.recorded, model_id), bool)
            send(live, callers, seconds=4)
            assert sidecar.stop() == 0
            while not gateway.events("journal.full"):
                list(callers.map(live.call, [FILLER] * CALLERS * 10))
            processes.start_sidecar(SIDECAR_MAX_MODELS="3")
            send(live, callers, seconds=6)
            settle(live)
            yield live


def configure_mock(url: str) -> None:
    """Some calls of one model fail; none takes long."""
    request = urllib.request.Request(f"{url}/config", json.dumps(MOCK).encode(), method="PUT")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def send(live: Live, callers: ThreadPoolExecutor, seconds: float) -> None:
    """All models in turn, and requests that are none."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        list(callers.map(live.call, MODELS * 4))
        list(callers.map(live.chat, (STEADY, FAILING)))
        post(f"{live.system.gateway_url}/invoke", b"no JSON")


def settle(live: Live) -> None:
    """Until Prometheus has scraped all that the sidecar has, and the sidecar has all that the gateway had."""

    def behind() -> int:
        stats = get(f"{live.system.sidecar_url}/metrics/stats")["stats"].values()
        waiting = live.ask("query", query="sum(invoker_records_waiting) + sum(sidecar_queue_records)")["result"]
        scraped = live.ask("query", query="sum(model_total_invocations)")["result"]
        committed: int = sum(model["total_invocations"] for model in stats)
        return committed - round(float(scraped[0]["value"][1])) + round(float(waiting[0]["value"][1]))

    eventually(behind, lambda records: records == 0, 20.0)
    live.end = time.time()
