"""The load test as a process, against a small gateway that counts rightly or wrongly."""

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.load_generator import Plan, timeline
from tests.deploy.processes import PROJECT, free_port

MIX = {"gpt-3.5": 3, "bert-base": 1}


@dataclass
class TinyGateway:
    """Counts each call of each model, and can be told to fail, to be slow, to hang up or to miscount."""

    statuses: list[int] = field(default_factory=lambda: [200])
    latency_s: float = 0.0
    hang_up_after: int | None = None
    uncounted_every: int = 0
    counts: dict[str, list[int]] = field(default_factory=dict)
    calls: int = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/invoke", self.invoke),
                web.get("/metrics/stats", self.stats),
                web.get("/healthz", self.healthz),
            ]
        )
        return app

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def invoke(self, request: web.Request) -> web.Response:
        model_id = (await request.json())["worklet_input"]["model_id"]
        self.calls += 1
        number = self.calls
        status = self.statuses[number % len(self.statuses)]
        await asyncio.sleep(self.latency_s)
        counted = status != 400 and not (self.uncounted_every and number % self.uncounted_every == 0)
        if counted:
            self.counts.setdefault(model_id, [0, 0])[status == 200] += 1
        if self.hang_up_after is not None and number > self.hang_up_after:
            assert request.transport is not None
            request.transport.abort()
        success = status == 200
        answer = {"worklet_output": [6] if success else None, "success": success, "error_log": ""}
        return web.json_response(answer, status=status)

    async def stats(self, _request: web.Request) -> web.Response:
        stats = {
            model_id: {
                "total_invocations": failed + successful,
                "successful_invocations": successful,
                "failed_invocations": failed,
            }
            for model_id, (failed, successful) in self.counts.items()
        }
        return web.json_response({"stats": stats})


@pytest.fixture
def tiny() -> TinyGateway:
    return TinyGateway()


@pytest.fixture
async def url(tiny: TinyGateway) -> AsyncIterator[str]:
    async with TestServer(tiny.app()) as server:
        yield str(server.make_url("")).rstrip("/")


async def start(url: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "deploy.load_test", "--url", url, *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=PROJECT, stdout=pipe, stderr=pipe)


async def load(url: str, *arguments: str) -> tuple[int, str, str]:
    process = await start(url, *arguments)
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


async def load_json(url: str, *arguments: str) -> tuple[int, Any]:
    code, stdout, stderr = await load(url, "--json", "--duration", "1", "--rate", "200", *arguments)
    assert stderr == ""
    return code, json.loads(stdout)


def test_the_timeline_is_fixed_by_the_seed() -> None:
    """Equal plans send equal requests at equal times, at the wanted rate and in the wanted proportion."""
    plan = Plan("http://h", 1000.0, 10.0, MIX, seed=3)
    departures = list(timeline(plan))
    assert departures == list(timeline(plan))
    assert departures != list(timeline(Plan("http://h", 1000.0, 10.0, MIX, seed=4)))
    assert len(departures) == pytest.approx(10_000, rel=0.05)
    assert sum(model == "gpt-3.5" for _, model in departures) == pytest.approx(7_500, rel=0.05)
    assert all(0.0 <= due < 10.0 for due, _ in departures)


def test_uniform_arrivals_have_equal_gaps() -> None:
    """One every 1/rate seconds."""
    departures = [due for due, _ in timeline(Plan("http://h", 100.0, 1.0, MIX, arrivals="uniform"))]
    assert len(departures) == 99
    assert all(later - due == pytest.approx(0.01) for due, later in itertools.pairwise(departures))


async def test_callers_and_sidecar_agree(tiny: TinyGateway, url: str) -> None:
    """Every end is counted per model, rejected requests are none, and what was there before is taken off."""
    tiny.statuses = [200, 200, 429, 400, 504]
    tiny.counts = {"gpt-3.5": [5, 7]}
    code, result = await load_json(url)
    assert (code, result["agree"], result["differences"]) == (0, True, [])
    assert result["sent"] == tiny.calls == sum(result["statuses"].values())
    assert result["models"].keys() == MIX.keys()
    parts = [result[name] for name in ("successful", "failed", "rejected", "unknown")]
    assert sum(parts) == result["sent"]
    assert parts[:3] == [sum(result["statuses"][s] for s in group) for group in (["200"], ["429", "504"], ["400"])]
    assert result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]


async def test_a_miscount_is_found(tiny: TinyGateway, url: str) -> None:
    """One record too few is a disagreement, with exit code 1 and the model's name."""
    tiny.uncounted_every = 50
    code, stdout, _ = await load(url, "--duration", "1", "--rate", "100", "--models", "m=1")
    assert code == 1
    assert "\nagree: NO\n  m: callers saw" in stdout


async def test_lost_answers_make_the_agreement_a_range(tiny: TinyGateway, url: str) -> None:
    """A call whose answer never came may have been recorded: its outcome is unknown."""
    tiny.hang_up_after = 50
    code, result = await load_json(url)
    assert (code, result["agree"]) == (0, True)
    assert result["successful"] == 50
    assert result["unknown"] == result["sent"] - 50
    assert result["statuses"]["ServerDisconnectedError"] > 0


async def test_a_slow_gateway_does_not_slow_the_load(tiny: TinyGateway, url: str) -> None:
    """Requests leave when they are due; those beyond the bound in flight are counted as not sent."""
    tiny.latency_s = 1.5
    code, result = await load_json(url, "--max-in-flight", "20", "--arrivals", "uniform")
    assert code == 0
    assert result["sent"] == tiny.calls == 20
    assert result["not_sent"] == 179
    assert result["service_ms"]["p50"] >= 1500


async def test_ctrl_c_ends_the_sending_and_still_reports(tiny: TinyGateway, url: str) -> None:
    """What is in flight is waited for, and the comparison is made."""
    tiny.latency_s = 0.5
    process = await start(url, "--json", "--duration", "100", "--rate", "50")
    while tiny.calls < 20:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, _ = await process.communicate()
    result = json.loads(stdout)
    assert (process.returncode, result["agree"], result["unknown"]) == (0, True, 0)
    assert result["sent"] == result["successful"] == tiny.calls


async def test_an_unreachable_gateway_is_one_line_and_exit_code_2() -> None:
    """Nothing is sent when nobody is there."""
    url = f"http://127.0.0.1:{free_port()}"
    code, stdout, stderr = await load(url)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(f"load-test: error: the gateway at {url} (LOAD_URL, --url) can't be reached: ")
    assert stderr.count("\n") == 1


async def test_without_statistics_the_check_can_be_left_out() -> None:
    """A gateway whose sidecar is away is refused at the start, unless asked for with `--no-check`."""
    app = web.Application()
    app.add_routes([web.post("/invoke", TinyGateway().invoke), web.get("/healthz", TinyGateway().healthz)])
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        code, _, stderr = await load(url)
        assert code == 2
        assert f"{url}/metrics/stats answers with status 404 (--no-check does without)" in stderr
        code, result = await load_json(url, "--no-check")
        assert (code, result["agree"]) == (0, None)
        assert result["successful"] == result["sent"] > 0


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--models", "gpt-3.5"), ("--models", "a=0"), ("--models", "=1"), ("--rate", "0"), ("--url", "here")],
)
async def test_a_wrong_setting_is_one_line_and_exit_code_2(flag: str, value: str) -> None:
    """The line names the setting and the value."""
    code, stdout, stderr = await load("http://127.0.0.1:1", flag, value)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert flag in stderr
    assert repr(value) in stderr
