"""Rest: nothing waits anywhere any more, so that all views must agree."""

import asyncio
import time

import aiohttp

from tests.chaos.cluster import Cluster
from tests.chaos.views import Sidecar, count_of

REPORTED_S = 0.5
"""Workers report a few times a second: what is older says nothing."""


async def until_rest(cluster: Cluster, sidecar: Sidecar, timeout_s: float) -> None:
    """Until all journals are shipped, all workers connected and nothing is in flight, seen twice in a row."""
    deadline_s = time.monotonic() + timeout_s
    for _ in range(2):
        await asyncio.sleep(REPORTED_S)
        while restless := await what_goes_on(cluster, sidecar):
            assert time.monotonic() < deadline_s, f"no rest within {timeout_s:g} s: {'; '.join(restless)}"
            await asyncio.sleep(0.2)


async def what_goes_on(cluster: Cluster, sidecar: Sidecar) -> list[str]:
    """What is not at rest."""
    try:
        series = await sidecar.series()
        await sidecar.get("/readyz")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return [f"the sidecar: {error!r}"]
    journals, workers = cluster.journals(), cluster.workers
    states = {
        f"{journals} journals": journals == workers,
        "workers are not connected": series.get("invoker_workers_connected") == workers,
        "records wait": not series.get("invoker_records_waiting"),
        "calls are in flight": not count_of(series, "model_active_invocations"),
    }
    return [state for state, rests in states.items() if not rests]
