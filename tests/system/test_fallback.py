"""Models that others take the place of, in real processes: whoever is asked tells the same of them."""

import contextlib
import json
import os
import signal
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import Json, System, children, eventually, get, get_text, post, system
from tests.tap import Tap, tapped

MODELS = """
["asked/*"]
upstream = "{tap}/invoke"
prices = {{ request = 1 }}
fallback = ["away", "served"]

[away]
upstream = "http://127.0.0.1:1/"
retries = 1

[served]
upstream = "{tap}/invoke"
upstream_model = "its-own"
prices = {{ request = 2 }}
"""
SERVED, FAILED = 12, 5


class Stack:
    """Mock server, sidecar and two workers, whose upstream is listened to."""

    def __init__(self, started: System, mock: str, tap: Tap) -> None:
        self.system = started
        self.tap = tap
        self._mock = mock

    def behave(self, model_id: str, **behaviour: Any) -> None:
        url = f"{self._mock}/config/{model_id}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(behaviour).encode(), method="PUT")):
            pass

    def rows(self, count: int) -> list[Json]:
        """All, once there are so many."""
        return eventually(lambda: self.system.history("limit=100")["history"], lambda rows: len(rows) >= count)  # type: ignore[no-any-return]

    def samples(self) -> dict[tuple[str, ...], float]:
        """By name and values of labels."""
        text = get_text(f"{self.system.sidecar_url}/metrics")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with system(tmp_path) as started:
        mock = started.start_mock().event("mock.listening")["url"]
        started.start_sidecar()
        with tapped(mock) as tap:
            path = tmp_path / "models.toml"
            path.write_text(MODELS.format(tap=tap.url))
            started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS="2")
            yield Stack(started, mock, tap)


def test_all_that_is_told_of_them_agrees(stack: Stack) -> None:
    """History, statistics, counters, cost, attempts: one call is one record, of the model that served it."""
    stack.behave("asked/a", failure_rate=1.0, failure_status=503)
    stack.behave("asked/b", failure_rate=1.0, failure_status=500)
    answers = Counter(stack.system.invoke("asked/a")[0] for _ in range(SERVED))
    stack.behave("its-own", failure_rate=1.0, failure_status=429)
    answers += Counter(stack.system.invoke("asked/b")[0] for _ in range(FAILED))
    assert answers == {200: SERVED, 502: FAILED}

    rows = stack.rows(SERVED + FAILED)
    told = Counter((row["model_id"], row["fallback_from"], row["error_type"], row["status_code"]) for row in rows)
    assert told == {
        ("served", "asked/a", None, 200): SERVED,
        ("asked/b", None, "upstream_status", 500): FAILED,
    }
    assert {row["upstream"] for row in rows} == {stack.tap.url.removeprefix("http://")}
    assert {row["cost_usd"] for row in rows if row["success"]} == {"2"}
    assert {row["attempts"] for row in rows} <= {3, 4}  # some are tried again, within the budget

    stats = {model_id: stack.system.stats(model_id) for model_id in ("served", "asked/b", "asked/a", "away")}
    assert [each.get("total_invocations", 0) for each in stats.values()] == [SERVED, FAILED, 0, 0]
    assert Decimal(stats["served"]["cost_usd"]) == 2 * SERVED
    samples = stack.samples()
    assert samples["model_invocations_total", "served", "success"] == SERVED
    assert samples["model_invocations_total", "asked/b", "failure"] == FAILED
    assert samples["model_fallbacks_total", "asked/a"] == SERVED
    assert get(f"{stack.system.sidecar_url}/metrics/reconcile")["consistent"] is True
    shown = eventually(
        lambda: get(f"{stack.system.gateway_url}/upstreams")["upstreams"],
        lambda shown: sum(sum(each["attempts"].values()) for each in shown) == sum(row["attempts"] for row in rows),
    )
    assert [each["outstanding"] for each in shown] == [0] * len(shown)
    active = eventually(stack.samples, lambda samples: not samples["model_active_invocations", "served"])
    assert {value for key, value in active.items() if key[0] == "model_active_invocations"} == {0}


def test_each_upstream_is_told_its_own_name(stack: Stack) -> None:
    """Of a body that isn't read in one piece, too: nothing else of it changes."""
    stack.behave("asked/a", failure_rate=1.0)
    numbers = b"1.50, " * 100_000 + b"2"
    body = b'{"worklet_input": {"input": ["model_id", %b], "model_id" : "asked/a"}, "x": 1e400}' % numbers
    status, answer = post(f"{stack.system.gateway_url}/invoke", body)
    assert (status, answer["success"]) == (200, True)
    (asked,), (served,) = stack.tap.requests("asked/a"), stack.tap.requests("its-own")
    assert (asked.body, served.body) == (body, body.replace(b'"asked/a"', b'"its-own"'))
    (row,) = stack.rows(1)
    assert (row["model_id"], row["fallback_from"], row["input_size"]) == ("served", "asked/a", 100_002)


def test_a_worker_that_dies_over_another_model(stack: Stack) -> None:
    """Its call is recorded as the one that was asked for."""
    stack.behave("asked/a", failure_rate=1.0)
    stack.behave("its-own", latency="fixed:60s")
    caller = threading.Thread(target=_call_in_vain, args=(stack.system, "asked/a"))
    caller.start()
    eventually(lambda: stack.tap.requests("its-own"), bool)
    gateway = stack.system.processes[-1]
    for pid in children(gateway.pid):
        os.kill(pid, signal.SIGKILL)
    caller.join(20)
    (row,) = stack.rows(1)
    assert (row["model_id"], row["fallback_from"], row["error_type"]) == ("asked/a", None, "gateway_died")
    assert row["attempts"] is None


def _call_in_vain(started: System, model_id: str) -> None:
    with contextlib.suppress(OSError):
        started.invoke(model_id)
