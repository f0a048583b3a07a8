"""Prometheus' place during chaos: scrapes a few times a second and never sees a counter go down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp

from tests.chaos.views import Series, Sidecar

INTERVAL_S = 0.2
FAMILIES = ("model_", "invoker_", "sidecar_records_missing_total")
COUNTERS = ("_total", "_count", "_sum", "_bucket")


class Scraper:
    """`decreases` has a line for each counter that went down, or was gone, between two scrapes."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.decreases: list[str] = []
        self.scrapes = 0
        self._sidecar = sidecar
        self._last: Series = {}

    def take(self, scraped: Series) -> None:
        """Compare a scrape with all before it."""
        self.scrapes += 1
        for name, before in self._last.items():
            now = scraped.get(name, 0.0)
            if now < before:
                self.decreases.append(f"{name} went from {before} to {scraped.get(name)}")
        self._last |= {name: value for name, value in scraped.items() if is_counter(name)}

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                self.take(await self._sidecar.series())
            await asyncio.sleep(INTERVAL_S)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def is_counter(series: str) -> bool:
    """Whether it is a counter that must outlive the sidecar."""
    return series.startswith(FAMILIES) and series.partition("{")[0].endswith(COUNTERS)
