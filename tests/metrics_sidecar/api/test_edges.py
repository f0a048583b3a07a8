"""All endpoints on a real history, at the edges of what can be asked."""

from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path

import pytest
from aiohttp import web

from metrics_sidecar.app import make_app
from metrics_sidecar.settings import HISTORY_FILE, SidecarSettings
from metrics_sidecar.store.sqlite import SqliteStore
from metrics_sidecar.totals import aggregate
from metrics_sidecar.transaction import Commit
from shared.record import MAX_TIMESTAMP_US
from tests.metrics_sidecar.api.conftest import TIMESTAMP_US, Client
from tests.metrics_sidecar.ledgers import record

MOMENTS = ("0001-01-01T00:00:00Z", "0", "1705314600", "9999-12-31T23:59:59.999999Z")
TIMES = [
    f"since={since}&until={until}" for (a, since), (b, until) in product(enumerate(MOMENTS), repeat=2) if a <= b
] + [f"{name}={moment}" for name in ("since", "until") for moment in MOMENTS]


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Client:
    """Of a sidecar with three invocations: in 1970, in 2024, and in the last moment of all."""
    records = [record(at=at) for at in (0, TIMESTAMP_US, MAX_TIMESTAMP_US)]
    store = SqliteStore(tmp_path / HISTORY_FILE)
    store.commit(Commit(number=1, now_us=1, records=records, totals=aggregate(records), label_room=1))
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
