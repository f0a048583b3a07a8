"""What the tests ask of the running stack, at the addresses that the README gives."""

import json
import subprocess
import sys
import urllib.parse
from typing import Any

from tests.processes import Json, eventually, get, post
from tests.stack.compose import ROOT

GATEWAY = "http://localhost:8000"
MOCK = "http://localhost:8001"
PROMETHEUS = "http://localhost:9090"
SCRAPED_S = 30.0
"""Ample for the scrape after a change, and for what the sidecar needs to come back."""


def curl(*arguments: str) -> str:
    """What `curl` prints, an error status being an error."""
    done = subprocess.run(["curl", "--silent", "--show-error", "--fail-with-body", *arguments],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, f"curl {' '.join(arguments)}: {done.stdout} {done.stderr}"
    return done.stdout


def invoke(model_id: str, value: object = (1, 2, 3)) -> tuple[int, Json]:
    """HTTP status and answer."""
    body = {"worklet_input": {"model_id": model_id, "input": value}}
    return post(f"{GATEWAY}/invoke", json.dumps(body).encode())


def stats() -> Json:
    """Per model, as `/metrics/stats` answers through the gateway."""
    answer: Json = get(f"{GATEWAY}/metrics/stats")["stats"]
    return answer


def query(expression: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Prometheus' values now, by the values of these labels."""
    encoded = urllib.parse.urlencode({"query": expression})
    result = get(f"{PROMETHEUS}/api/v1/query?{encoded}")["data"]["result"]
    return {tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1]) for one in result}


def recorded() -> dict[str, dict[tuple[str, ...], float]]:
    """Prometheus' values of all that `/metrics/stats` tells, too."""
    return {
        "counts": query("model_invocations_total", "model_id", "status"),
        "totals": query("model_total_invocations", "model_id"),
        "success rates": query("model_success_rate", "model_id"),
        "latency sums": query("model_invocation_latency_seconds_sum", "model_id"),
        "latency counts": query("model_invocation_latency_seconds_count", "model_id"),
    }


def told() -> dict[str, dict[tuple[str, ...], float]]:
    """The same from `/metrics/stats`, in Prometheus' units."""
    models = stats()
    counts: dict[tuple[str, ...], float] = {
        (model, status): one[f"{word}_invocations"]
        for model, one in models.items()
        for status, word in (("success", "successful"), ("failure", "failed"))
    }
    return {
        "counts": counts,
        "totals": {(model,): one["total_invocations"] for model, one in models.items()},
        "success rates": {(model,): one["success_rate"] for model, one in models.items()},
        # Whole microseconds on both sides: this division gives the nearest double, as reading the decimal text does.
        "latency sums": {(model,): round(one["total_latency_ms"] * 1000) / 1e6 for model, one in models.items()},
        "latency counts": {(model,): one["total_invocations"] for model, one in models.items()},
    }


def agreed() -> dict[str, dict[tuple[str, ...], float]]:
    """Prometheus' values once they equal the statistics, to the last digit."""
    expected = told()
    eventually(recorded, lambda found: found == expected, SCRAPED_S)
    return expected


def start_load(*arguments: str) -> "subprocess.Popen[str]":
    """`make load`'s command; it checks what callers saw against the statistics, and fails if they differ."""
    return subprocess.Popen([sys.executable, "-m", "deploy.load_test", *arguments], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def finish_load(load: "subprocess.Popen[str]") -> str:
    """Its line of what was sent."""
    output, _ = load.communicate(timeout=120)
    assert load.returncode == 0, output
    assert "agree: yes" in output
    return "; ".join(" ".join(line.split()) for line in output.splitlines() if line.startswith(("sent", "outcomes")))


def mock(config: dict[str, Any]) -> None:
    curl("-X", "PUT", f"{MOCK}/config", "-H", "Content-Type: application/json", "-d", json.dumps(config))
