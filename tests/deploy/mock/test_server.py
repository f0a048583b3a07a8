"""The mock server as a process: what it answers, how it is changed, how it starts and stops."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.deploy.processes import Running, running

MODULE = ("-m", "deploy.mock_server")
FAST = {"MOCK_PORT": "0", "MOCK_LATENCY": "fixed:0ms"}


def url_of(mock: Running) -> str:
    return mock.until(r"mock\.listening.*url=(\S+)")[1]


@pytest.fixture
def mock() -> Iterator[str]:
    """The URL of a mock server without latency."""
    with running(*MODULE, env=FAST) as process:
        yield url_of(process)
        assert process.stop() == 0


async def invoke(url: str, value: Any, model_id: str = "gpt-3.5") -> tuple[int, Any]:
    body = {"worklet_input": {"model_id": model_id, "input": value}}
    return await call("POST", f"{url}/invoke", json=body)


async def call(method: str, url: str, **options: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
        assert answer.content_type == "application/json"
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]),
        ([], []),
        (1, 6),
        (0.5, 5.5),
        ([[1, [2.5]], -5], [[6, [7.5]], 0]),
        ([True, None, "1", {"a": 1}], [True, None, "1", {"a": 1}]),
        ({"a": [1]}, {"a": [1]}),
        ("text", "text"),
        (None, None),
        (2**64, 2**64 + 5),
    ],
)
async def test_invoke_adds_five_to_each_number(mock: str, value: Any, expected: Any) -> None:
    """Numbers in lists at any depth are worked on, and any other JSON comes back as it was."""
    assert await invoke(mock, value) == (200, {"worklet_output": expected})


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the body is not JSON"),
        (b"{", 400, "the body is not JSON"),
        (b'{"worklet_input": {"model_id": "m", "input": nan}}', 400, "the body is not JSON"),
        (b"[1]", 422, "Expected `object`, got `array`"),
        (b"{}", 422, "missing required field `worklet_input`"),
        (b'{"worklet_input": {"model_id": 1, "input": 1}}', 422, "Expected `str`"),
        (b'{"worklet_input": {"model_id": "m", "input": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}", 422, "deep"),
    ],
)
async def test_a_bad_body_is_answered_with_a_json_error(mock: str, body: bytes, status: int, error: str) -> None:
    """No body, however broken, is answered with anything but a JSON object that says what is wrong."""
    found_status, answer = await call("POST", f"{mock}/invoke", data=body)
    assert (found_status, error in answer["error"]) == (status, True)


async def test_failures_are_500_with_a_json_error(mock: str) -> None:
    """A model that always fails is configured while the server runs, and the others go on."""
    assert (await call("PUT", f"{mock}/config/bad/model", json={"failure_rate": 1}))[0] == 200
    assert await invoke(mock, 1, "bad/model") == (500, {"error": "mock failure of model 'bad/model'"})
    assert (await invoke(mock, 1))[0] == 200
    assert (await call("DELETE", f"{mock}/config/bad/model"))[0] == 200
    assert (await invoke(mock, 1, "bad/model"))[0] == 200


async def test_a_seed_makes_failures_repeatable(mock: str) -> None:
    """The same seed gives equal requests in equal order equal fates."""

    async def fates() -> list[int]:
        config = {"latency": "fixed:0ms", "failure_rate": 0.5, "seed": 7}
        assert await call("PUT", f"{mock}/config", json=config) == (200, {**config, "models": {}})
        return [(await invoke(mock, 1))[0] for _ in range(20)]

    first = await fates()
    assert await fates() == first
    assert set(first) == {200, 500}


async def test_the_whole_configuration_is_shown_and_replaced(mock: str) -> None:
    """`GET /config` shows what `PUT /config` set, and a refused one changes nothing."""
    config = {"latency": "fixed:1ms", "failure_rate": 0.0, "seed": None, "models": {"m": {"failure_rate": 0.5}}}
    assert await call("PUT", f"{mock}/config", json=config) == (200, config)
    status, answer = await call("PUT", f"{mock}/config", json={**config, "failure_rate": 3})
    assert (status, answer["error"]) == (422, "failure_rate: Expected `float` <= 1.0, got 3")
    assert (await call("PUT", f"{mock}/config", data=b"{"))[0] == 400
    assert await call("GET", f"{mock}/config") == (200, config)
    assert await call("GET", f"{mock}/healthz") == (200, {"status": "ok"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopping_server_finishes_what_is_in_flight(number: signal.Signals) -> None:
    """A call that was accepted before the signal is answered, and the exit code is 0."""
    arguments = ("--model", "slow=fixed:700ms", "--model", "other=failure=1")
    with running(*MODULE, *arguments, env=FAST) as mock:
        url = url_of(mock)
        assert (await invoke(url, 1, "other"))[0] == 500
        pending = asyncio.create_task(invoke(url, 1, "slow"))
        await asyncio.sleep(0.3)
        mock.process.send_signal(number)
        assert await pending == (200, {"worklet_output": 6})
        assert mock.end() == 0


def test_models_come_from_the_environment_too() -> None:
    """`MOCK_MODELS` holds what `--model` takes, separated by spaces."""
    with running(*MODULE, env={**FAST, "MOCK_MODELS": "a=fixed:1ms b=failure=2"}) as mock:
        assert mock.end() == 2
        assert mock.output == "mock-server: error: failure: '2' is not a rate from 0 to 1\n"


def test_a_taken_port_is_one_line_and_exit_code_2() -> None:
    """The line names the address and the settings that hold it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with running(*MODULE, "--port", str(port)) as mock:
            assert mock.end() == 2
            expected = f"MOCK_PORT: 127.0.0.1:{port} can't be bound: another process listens there "
            assert mock.output.startswith(f"mock-server: error: {expected}")
            assert mock.output.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--latency", "fast"), "MOCK_LATENCY (--latency): 'fast' is not fixed:TIME"),
        (("--failure-rate", "2"), "MOCK_FAILURE_RATE"),
        (("--port", "-1"), "MOCK_PORT"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(arguments: tuple[str, str], message: str) -> None:
    """The line names the setting and the value."""
    with running(*MODULE, *arguments) as mock:
        assert mock.end() == 2
        assert message in mock.output
        assert arguments[1] in mock.output
        assert mock.output.count("\n") == 1
