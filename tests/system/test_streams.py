"""Streams through all processes, from a model server with every fault: what callers got, and what is recorded."""

import contextlib
import http.client
import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import System, children, eventually, system

PATHS = {"openai": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}
PRICED = """
[priced]
upstream = "{mock}/v1"
protocol = "openai"
first_token = 60
idle = 60
prices = {{ input = 2.5, output = 10, request = 0.01 }}

[hurried]
upstream = "{mock}/v1"
protocol = "openai"
first_token = 0.5
"""
DIALECTS = pytest.mark.parametrize("dialect", PATHS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("streams")) as started:
        started.start_mock()
        started.start_sidecar()
        mock = started.upstream.removesuffix("/invoke")
        models = tmp_path_factory.mktemp("models") / "models.toml"
        models.write_text(PRICED.format(mock=mock))
        started.start_gateway(
            INVOKER_OPENAI_URL=f"{mock}/v1", INVOKER_ANTHROPIC_URL=mock, INVOKER_MODELS_FILE=str(models)
        )
        yield started


def behave(running: System, model_id: str, **stream: Any) -> None:
    url = f"{running.upstream.removesuffix('/invoke')}/config/{model_id}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps({"stream": stream}).encode(), method="PUT")):
        pass


@contextlib.contextmanager
def asking(running: System, dialect: str, model_id: str) -> Iterator[http.client.HTTPResponse]:
    says = [{"role": "user", "content": "one two three four five"}]
    body = {"model": model_id, "stream": True, "max_tokens": 99}
    body["input" if dialect == "responses" else "messages"] = says
    connection = http.client.HTTPConnection(running.gateway_url.partition("://")[2], timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", PATHS[dialect], json.dumps(body), {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            yield response


def ask(running: System, dialect: str, model_id: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether it came to its end."""
    with asking(running, dialect, model_id) as response:
        try:
            return response.status, response.read(), True
        except http.client.IncompleteRead as error:
            return response.status, error.partial, False


def record(running: System, model_id: str) -> Any:
    running.settled(model_id, 1)
    history = running.history(f"model_id={model_id}")
    assert history["total_count"] == 1
    return history["history"][0]


@DIALECTS
@pytest.mark.parametrize(
    "stream",
    [
        {},
        {"pieces": "bytes"},
        {"pieces": "one"},
        {"line_end": "crlf", "pieces": "bytes"},
        {"line_end": "cr", "space": False},
        {"comments": True, "usage": "each"},
        {"done": False},
        {"coding": "gzip"},
        {"coding": "gzip", "pieces": "bytes", "first_token_s": 0.02},
        {"tokens_per_second": 200, "first_token_s": 0.02},
    ],
    ids=json.dumps,
)
def test_a_whole_stream(running: System, dialect: str, stream: dict[str, Any]) -> None:
    """All of it comes, to a clean end, in whatever form, and is a success of so many bytes."""
    model_id = re.sub(r"[^a-z0-9.]+", "-", f"whole-{dialect}-{json.dumps(stream)}")
    behave(running, model_id, **stream)
    status, body, whole = ask(running, dialect, model_id)
    assert (status, whole) == (200, True)
    assert all(word in body for word in (b"one", b"two", b"three", b"four", b"five"))
    row = record(running, model_id)
    assert (row["success"], row["output_size"]) == (True, len(body))
    assert (row["input_tokens"], row["output_tokens"]) == (5, 5)
    assert 0 < row["time_to_first_token_ms"] <= row["latency_ms"]
    assert b'"choices":[],' not in body  # usage was asked for, and its event left out again


@DIALECTS
@pytest.mark.parametrize(
    "stream",
    [{"cut_at_byte": 150}, {"cut_at_byte": 1}, {"end_after_tokens": 2, "done": False, "finish": False}],
    ids=["cut", "cut at once", "ends"],
)
def test_a_stream_without_an_end(running: System, dialect: str, stream: dict[str, Any]) -> None:
    """Its caller gets the dialect's error and no clean end, or an error's status if nothing was sent."""
    model_id = f"broken-{dialect}-{'-'.join(stream)}-{stream.get('cut_at_byte', 0)}"
    behave(running, model_id, **stream)
    status, body, whole = ask(running, dialect, model_id)
    assert (status, whole) in {(200, False), (502, True)}
    assert b'"error":' in body
    assert record(running, model_id)["error_type"] == "invalid_response"


@DIALECTS
def test_usage_that_is_not_reported(running: System, dialect: str) -> None:
    """Is not known, or what was said: nothing is estimated."""
    behave(running, f"silent-{dialect}", usage="never")
    ask(running, dialect, f"silent-{dialect}")
    row = record(running, f"silent-{dialect}")
    none = 0 if dialect == "anthropic" else None
    assert (row["success"], row["input_tokens"], row["output_tokens"]) == (True, none, none)


def test_a_stream_with_a_price(running: System) -> None:
    """Costs what its five tokens do each way, and the request: to the nano-dollar."""
    status, _, whole = ask(running, "openai", "priced")
    assert (status, whole) == (200, True)
    assert record(running, "priced")["cost_usd"] == "0.0100625"


def test_a_stream_whose_first_output_is_late(running: System) -> None:
    """However soon its head and its role came: its caller sees why, and no clean end."""
    behave(running, "hurried", first_token_s=600)
    status, body, whole = ask(running, "openai", "hurried")
    assert (status, whole) == (200, False)
    assert b"upstream's stream gave no output within 0.5 s" in body
    row = record(running, "hurried")
    assert (row["error_type"], row["time_to_first_token_ms"]) == ("timeout", None)
    assert row["latency_ms"] > 400


def test_done_is_an_end_by_itself(running: System) -> None:
    """Though nothing said why the answer ended."""
    behave(running, "unfinished", finish=False)
    status, body, whole = ask(running, "openai", "unfinished")
    assert (status, whole, b"[DONE]" in body) == (200, True, True)
    assert record(running, "unfinished")["success"] is True


@DIALECTS
def test_an_error_in_a_stream(running: System, dialect: str) -> None:
    """It is the caller's to see, and a failure."""
    behave(running, f"error-{dialect}", error_after_tokens=2)
    status, body, _ = ask(running, dialect, f"error-{dialect}")
    assert (status, b"error" in body) == (200, True)
    assert record(running, f"error-{dialect}")["error_type"] == "invalid_response"


@DIALECTS
def test_a_caller_that_leaves(running: System, dialect: str) -> None:
    """In the middle of a stream, while no token comes: recorded as that."""
    behave(running, f"left-{dialect}", stall_after_tokens=2, stall_s=600)
    with asking(running, dialect, f"left-{dialect}") as response:
        assert response.readline()
    row = record(running, f"left-{dialect}")
    assert (row["error_type"], row["output_size"] > 0) == ("client_disconnected", True)


def test_a_worker_that_dies(running: System) -> None:
    """In the middle of a stream: its caller sees no end, and there is one record that says so."""
    behave(running, "died", tokens_per_second=1)
    with asking(running, "openai", "died") as response:
        assert response.readline()
        (gateway,) = (process for process in running.processes if process.events("worker.listening"))
        for pid in children(gateway.pid):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
    rows = eventually(lambda: running.history("model_id=died")["history"], lambda found: len(found) == 1, 20.0)
    assert rows[0]["error_type"] == "gateway_died"
