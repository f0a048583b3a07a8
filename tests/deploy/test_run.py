"""`make run`'s process: the whole stack from one command, and nothing of it left afterwards."""

import re
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from deploy.run import Service, check_ports, environment
from shared.settings import StartupError
from tests.deploy.processes import free_port, running, wait_until_none_with

RUN = ("-m", "deploy.run")


def service(name: str, port: int, host: str = "127.0.0.1") -> Service:
    return Service(name, "nothing", host, port, f"{name.upper()}_PORT", "/healthz")


@pytest.fixture
def ports() -> dict[str, str]:
    """Free ports for the whole stack, and a mark in the environment of its processes."""
    found = {name: str(free_port()) for name in ("MOCK_PORT", "SIDECAR_PORT", "INVOKER_PORT")}
    return {**found, "MARK": uuid.uuid4().hex}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_processes_find_each_other_wherever_their_ports_are() -> None:
    """The gateway's URLs follow the ports of the others, unless they are given."""
    stack = [service("mock", 1, "0.0.0.0"), service("sidecar", 2, "::"), service("gateway", 3)]
    expected = {
        "INVOKER_UPSTREAM_URL": "http://127.0.0.1:1/invoke",
        "INVOKER_OPENAI_URL": "http://127.0.0.1:1/v1",
        "INVOKER_ANTHROPIC_URL": "http://127.0.0.1:1",
        "INVOKER_KSERVE_URL": "http://127.0.0.1:1",
        "INVOKER_SIDECAR_URL": "http://[::1]:2",
        "INVOKER_DRAIN_DELAY_S": "0",
        "PYTHONUNBUFFERED": "1",
    }
    assert environment(stack, {}) == expected
    own = {"INVOKER_UPSTREAM_URL": "", "OTHER": "x"}
    assert environment(stack, own) == {**expected, **own}


def test_a_port_that_is_shared_with_another_gateway_is_taken(taken_port: int) -> None:
    """SO_REUSEPORT of the one that listens doesn't let a second stack start beside it."""
    with pytest.raises(StartupError, match=rf"the b can't start: B_PORT: 127\.0\.0\.1:{taken_port} can't be "):
        check_ports([service("a", free_port()), service("b", taken_port)])
    with pytest.raises(StartupError, match="A_PORT: 0 "):
        check_ports([service("a", 0)])


def test_a_taken_port_is_one_line_and_exit_code_2(ports: dict[str, str], taken_port: int) -> None:
    """Nothing is started when something could not be."""
    with running(*RUN, env={**ports, "SIDECAR_PORT": str(taken_port)}) as stack:
        assert stack.end() == 2
        assert re.fullmatch(r"run: error: the sidecar can't start: SIDECAR_PORT: .*\n", stack.output)


def test_a_wrong_setting_is_one_line_and_exit_code_2(ports: dict[str, str]) -> None:
    """Any process's setting is checked before one is started."""
    with running(*RUN, env={**ports, "INVOKER_WORKERS": "many"}) as stack:
        assert stack.end() == 2
        assert re.fullmatch(r"run: error: .*INVOKER_WORKERS.*many.*\n", stack.output)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_stack_starts_serves_and_stops(ports: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    """The URLs are shown once all are ready; a call is served and counted; a signal ends all with 0."""
    with running(*RUN, env=ports, cwd=tmp_path) as stack:
        url = stack.until(r"gateway +(http://\S+)/docs")[1]
        assert url == f"http://127.0.0.1:{ports['INVOKER_PORT']}"
        body = {"worklet_input": {"model_id": "gpt-3.5", "input": [1, 2, 3, 4, 5]}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/invoke", json=body) as answer,
        ):
            assert (await answer.json())["worklet_output"] == [6, 7, 8, 9, 10]
        with running("-m", "deploy.load_test", "--url", url, "--duration", "1") as load:
            assert load.end() == 0
            assert load.output.endswith("\nagree: yes\n")
        assert stack.stop(number) == 0
        assert stack.output.count("Everything is running") == 1
    assert wait_until_none_with(ports["MARK"]) == []


def test_one_that_can_not_start_ends_all(ports: dict[str, str], tmp_path: Path) -> None:
    """It is named, and its exit code is the command's."""
    (tmp_path / "data").write_text("a file where a directory must be")
    with running(*RUN, env=ports, cwd=tmp_path) as stack:
        assert stack.end() == 2
        assert re.search(r"system +\| (sidecar|gateway) ended with exit code 2", stack.output)
        assert "Everything is running" not in stack.output
    assert wait_until_none_with(ports["MARK"]) == []
