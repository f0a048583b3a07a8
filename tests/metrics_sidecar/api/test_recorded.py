"""Answers of the statistics, as an earlier release gave them, to the last digit, on the same history.

`python -m tests.metrics_sidecar.api.test_recorded` writes down what this code answers, for a release that is to change
them.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from metrics_sidecar.api.routes import setup_routes
from metrics_sidecar.api.sidecar import SIDECAR, Readiness, Sidecar
from metrics_sidecar.history.reconcile import Reconciliation
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.metrics.live import Families, Snapshot
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.backend import SqliteBackend
from shared.errors import problem_middleware
from shared.record import ErrorType, Record

RECORDED = Path(__file__).with_name("recorded_statistics.json")
HOUR_US = 3_600_000_000
START_US = 1_705_276_800_000_000  # 2024-01-15T00:00:00Z
NOW_US = START_US + 60 * HOUR_US + 90_500_000
MODELS = ("gpt-3.5", "a", "a*b", "team/é", 'q"\\', "late")
ERRORS = (None, None, None, ErrorType.TIMEOUT, ErrorType.CONNECT)

STATS = (
    "",
    "model_id=a",
    "model_id=a*",
    r"model_id=a\*b&model_id=gpt-3.5",
    "model_id=unknown",
    "model_id=__overflow__&model_id=a",
    "window=5m",
    "window=1h&model_id=a*",
    "window=1d",
    "window=2d",
    "window=2w",
    "since=2024-01-15T10:30:00Z",
    "since=2024-01-15T10:30:00.000001Z&until=2024-01-16T00:00:00Z",
    "until=2024-01-16T12:00:30Z&model_id=late&model_id=__overflow__",
    "since=2024-01-15T10:30:12Z&until=2024-01-15T10:30:40Z",
    "since=2030-01-01T00:00:00Z",
    "since=2024-01-16T00:00:00Z&until=2030-01-01T00:00:00Z",
    "since=1705276800&until=1705276800",
    "until=2023-01-01T00:00:00Z",
    "window=5x",
    "window=5m&since=2024-01-15T10:30:00Z",
)
METRICS = ("invocations", "errors", "error_rate", "requests_per_second", "active", "latency_avg",
           "latency_p50", "latency_p90", "latency_p95", "latency_p99")  # fmt: skip
TIMESERIES = (
    "",
    "group_by=model_id",
    *(f"metric={metric}&window=3h&step=10m" for metric in METRICS),
    *(f"metric={metric}&window=2d&step=6h&group_by=model_id" for metric in METRICS),
    "metric=latency_p95&window=2d&step=90m&model_id=a*&group_by=model_id",
    "metric=latency_p95&window=2d&step=90m&model_id=a*",
    "metric=invocations&window=2d&step=1d&model_id=a&model_id=unknown&model_id=__overflow__&group_by=model_id",
    "metric=errors&window=2d&step=7m&model_id=__overflow__&model_id=late",
    "metric=active&since=2024-01-15T10:30:12Z&until=2024-01-15T10:35:40Z&step=1m&group_by=model_id",
    "metric=latency_avg&since=2030-01-01T00:00:00Z&until=2030-01-01T01:00:00Z&step=30m",
    "until=2024-01-16T00:00:00Z&step=5m",
    "step=30s",
    "window=2w&step=1m",
    "window=1w&step=1h&group_by=model_id&metric=latency_p99",
)
PATHS = (*(f"/metrics/stats?{query}" for query in STATS), *(f"/metrics/timeseries?{query}" for query in TIMESERIES))


def records() -> list[Record]:
    """The same ones always; more at the end, and none for some hours."""
    random = Random(18)
    found = []
    for number in range(3000):
        hours = (
            random.choice([*range(20), *range(31, 60)]) + random.random() if number < 2700 else 60 + number % 4 / 400
        )
        latency_us = random.choice([0, 1, 999, 1000, 40_000_000, int(random.lognormvariate(11, 1.5))])
        error_type = random.choice(ERRORS)
        at_us = START_US + int(hours * HOUR_US)
        log, model = "no answer" if error_type else "", random.choice(MODELS)
        found.append(Record(model, at_us, latency_us, error_type, log, random.randrange(99), random.randrange(2**40)))
    return sorted(found, key=lambda record: record.timestamp_us)


class FixedClock:
    """It is always `NOW_US`."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_us(self) -> int:
        return 0


async def no_check() -> Reconciliation:
    raise NotImplementedError


async def clients(directory: Path) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """Of a history of these records, most of which are summed up; four models have a label."""
    backend = SqliteBackend(directory / HISTORY_FILE, retention=Retention(minutes_us=48 * HOUR_US))
    writer = backend.open_writer()
    planner, some = Planner(writer.load()), records()
    for first in range(0, len(some), 100):
        commit = planner.plan([Work("1" * 32, first + 1, some[first : first + 100])], NOW_US)
        commit.label_room = 4 if not first else 0
        writer.commit(commit)
        planner.applied(commit)
        while first < 2800 and writer.tend(some[first].timestamp_us, busy=False):
            pass
    reader = backend.open_reader()
    app = web.Application(middlewares=[problem_middleware])
    app[SIDECAR] = Sidecar(
        clock=FixedClock(),
        reader=reader,
        reconcile=no_check,
        readiness=lambda: Readiness("ready", []),
        snapshot=lambda: Snapshot({}, {}, {}, {}),
        families=lambda: Families({}, {}),
        measure_disk=backend.measure_disk,
        metrics=SidecarMetrics(),
    )
    setup_routes(app)
    async with TestClient(TestServer(app)) as client:
        yield client
    reader.close()
    writer.close()


async def answers(directory: Path) -> dict[str, str]:
    """By path: status and text."""
    found: dict[str, str] = {}
    async for client in clients(directory):
        for path in PATHS:
            async with client.get(path) as response:
                found[path] = f"{response.status} {await response.text()}"
    return found


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return asyncio.run(answers(tmp_path_factory.mktemp("recorded")))


@pytest.mark.parametrize("path", PATHS)
def test_statistics_are_what_they_were(answered: dict[str, str], path: str) -> None:
    """Every figure and every digit of it."""
    assert split(answered[path]) == split(json.loads(RECORDED.read_text(encoding="utf-8"))[path])


def split(answer: str) -> tuple[str, Any]:
    """Status and body, in which it doesn't matter in which order an object has its members."""
    status, _, body = answer.partition(" ")
    return status, json.loads(body)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        RECORDED.write_text(json.dumps(asyncio.run(answers(Path(temporary))), indent=0), encoding="utf-8")
