"""All endpoints on a real history, at the edges of what can be asked."""

import json
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from metrics_sidecar.app import make_app
from metrics_sidecar.history.queries import TooManyModelsError
from metrics_sidecar.ledger.totals import aggregate
from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.settings import HISTORY_FILE, SidecarSettings
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.clock import SystemClock
from shared.record import MAX_TIMESTAMP_US
from tests.metrics_sidecar.api.conftest import Client
from tests.metrics_sidecar.ledgers import record

MOMENTS = ("0001-01-01T00:00:00Z", "0", "1705314600", "9999-12-31T23:59:59.999999Z")
LAST_US = MAX_TIMESTAMP_US - 999_999
TIMES = [
    f"since={since}&until={until}" for (a, since), (b, until) in product(enumerate(MOMENTS), repeat=2) if a <= b
] + [f"{name}={moment}" for name in ("since", "until") for moment in MOMENTS]


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Client:
    """Of a sidecar with invocations of the first moment, of now, and of the last moment of all."""
    now_us = SystemClock().now_us()
    records = [record(model, at=at) for model, at in (("a/1", now_us), ("a/2", now_us), ("a/2", 0), ("b*", LAST_US))]
    store = SqliteWriter(tmp_path / HISTORY_FILE)
    store.commit(Commit(number=1, now_us=1, records=records, totals=aggregate(records), label_room=9))
    store.close()
    return await aiohttp_client(make_app(SidecarSettings(socket=tmp_path / "s", data_dir=tmp_path)))


@pytest.mark.parametrize(
    "query",
    ["/metrics/history?", "/metrics/stats?", "/metrics/timeseries?step=521w&metric=latency_p95&"],
)
async def test_any_time_can_be_asked_for(client: Client, query: str) -> None:
    """From the first year to the last."""
    answers = [await client.get(query + time) for time in TIMES]
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize("step", ["1m", "1d", "1w", "521w"])
async def test_any_step_can_be_asked_for(client: Client, step: str) -> None:
    """Where it is too short for the time, that is what the answer says."""
    for time in TIMES:
        response = await client.get(f"/metrics/timeseries?step={step}&{time}")
        assert response.status in (200, 400)
        if response.status == 400:
            assert (await response.json())["parameter"] == "step"


async def test_the_last_moment_is_in_the_last_step(client: Client) -> None:
    """Nothing that history and statistics count is missing in a series."""
    response = await client.get("/metrics/timeseries?since=9999-12-31T23:00:00Z&until=9999-12-31T23:59:59Z")
    (series,) = (await response.json())["series"]
    assert series["points"][-1] == [253402300740, 1]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["a/*"], {"a/1", "a/2"}),
        (["a/*", "b*", "c*"], {"a/1", "a/2", "b*"}),
        (["a/2*", "a/1", "a/2"], {"a/1", "a/2"}),
        (["b*"], {"b*"}),
        ([r"b\*"], {"b*"}),
        ([r"a/\*", "c*"], set()),
        (["*"], {"a/1", "a/2", "b*"}),
    ],
)
async def test_a_pattern_is_the_same_everywhere(client: Client, patterns: list[str], expected: set[str]) -> None:
    """In history, export, statistics with a time and without, and series together and one by one."""
    models = [("model_id", pattern) for pattern in patterns]
    time = [("since", "0"), ("until", "9999-12-31T23:59:59.999999Z")]
    series = [*models, *time, ("step", "521w")]

    async def get(path: str, query: list[tuple[str, str]]) -> Any:
        return await (await client.get(f"/metrics/{path}", params=query)).json()

    exported = await (await client.get("/metrics/export", params=models)).text()
    assert {row["model_id"] for row in (await get("history", models))["history"]} == expected
    assert {json.loads(line)["model_id"] for line in exported.splitlines()} == expected
    assert {*(await get("stats", models))["stats"]} == expected
    assert {*(await get("stats", [*models, *time]))["stats"]} == expected
    (together,) = (await get("timeseries", series))["series"]
    one_by_one = (await get("timeseries", [*series, ("group_by", "model_id")]))["series"]
    counts = {one["model_id"]: sum(count for _, count in one["points"]) for one in one_by_one}
    assert {model for model, count in counts.items() if count} == expected
    assert sum(count for _, count in together["points"]) == sum(counts.values())


async def test_a_pattern_that_too_many_models_match(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named."""

    async def aggregate(*_: object) -> None:
        raise TooManyModelsError("a/")

    monkeypatch.setattr("metrics_sidecar.sqlite.reader.SqliteReader.aggregate", aggregate)
    response = await client.get("/metrics/stats", params={"model_id": "a/*"})
    problem = await response.json()
    assert (response.status, problem["parameter"], problem["value"]) == (400, "model_id", "a/*")
    assert problem["allowed"] == "what no more than 10,000 models match"
