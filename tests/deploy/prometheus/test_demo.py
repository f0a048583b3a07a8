"""`make demo`'s process: everything from one command, with and without Prometheus, and nothing of it left."""

import os
import signal
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import debian
from tests.deploy.processes import free_port, running, wait_until_none_with
from tests.processes import eventually, get

DEMO = ("-m", "deploy.demo")
MODELS = {"gpt-3.5", "bert-base", "llama-3", "whisper"}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Free ports, a mark in the environment of all processes, and a place for what is temporary."""
    found = {name: str(free_port()) for name in ("MOCK_PORT", "SIDECAR_PORT", "INVOKER_PORT")}
    (tmp_path / "t").mkdir()
    return {**found, "MARK": uuid.uuid4().hex, "TMPDIR": str(tmp_path / "t"), "PATH": os.defpath}


LATE_MOCK_SERVER = """
import shlex
from unittest.mock import patch
from deploy import demo, run
command = run.Service.command.fget
def late(service):
    return f"sh -c {shlex.quote('sleep 4; exec ' + command(service))}" if service.name == "mock" else command(service)
with patch.object(run.Service, "command", property(late)):
    demo.main()
"""
"""The demo, whose mock server starts after all others."""


def test_the_demo_shows_models_in_prometheus(settings: dict[str, str]) -> None:
    """An old Prometheus, too, scrapes the sidecar and evaluates the rules; Ctrl-C ends everything."""
    path = f"{debian.unpack('prometheus', 'bookworm') / 'usr/bin'}:{os.defpath}"
    with running(*DEMO, env={**settings, "PATH": path}) as demo:
        url = demo.until(r"prometheus +(http://\S+)/targets")[1].replace("localhost", "127.0.0.1")
        query = f"{url}/api/v1/query?query={quote('sum by (model_id) (model_invocations_total) > 0')}"
        eventually(lambda: {s["metric"]["model_id"] for s in get(query)["data"]["result"]}, MODELS.__eq__, 30)
        rules = [rule for group in get(f"{url}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
        assert len(rules) > 20
        assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
        assert demo.stop(signal.SIGINT) == 0
    assert wait_until_none_with(settings["MARK"]) == []
    assert list(Path(settings["TMPDIR"]).iterdir()) == []


def test_the_demo_goes_on_without_prometheus(settings: dict[str, str]) -> None:
    """One line says so; models are called once they are there, one of them fails now and then, one is slow."""
    with running("-c", LATE_MOCK_SERVER, env=settings) as demo:
        demo.until(r"^Prometheus is not installed .*; the demo goes on without it\.$")
        url = demo.until(r"gateway +(http://\S+)/docs")[1]
        stats = eventually(
            lambda: get(f"{url}/metrics/stats")["stats"],
            lambda found: set(found) == MODELS and found["bert-base"]["failed_invocations"] > 0,
            30,
        )
        assert stats["llama-3"]["average_latency_ms"] > stats["gpt-3.5"]["average_latency_ms"]
        assert stats["gpt-3.5"]["failed_invocations"] == 0
        assert demo.stop(signal.SIGTERM) == 0
        assert "prometheus  http" not in demo.output
    assert wait_until_none_with(settings["MARK"]) == []
    assert list(Path(settings["TMPDIR"]).iterdir()) == []
