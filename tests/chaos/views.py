"""What the sidecar says happened: history, statistics and counters, read as anyone reads them."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import msgspec

PAGE_ROWS = 1000
READ_TIMEOUT_S = 60.0

Series = dict[str, float]
"""Name and labels, as they stand in the exposition → value."""


class Reconciliation(msgspec.Struct):
    """The answer of `/metrics/reconcile`, as far as it is used."""

    consistent: bool
    differences: msgspec.Raw


class Row(msgspec.Struct, frozen=True):
    """A history row, as far as it is compared."""

    id: int
    model_id: str
    success: bool
    latency_ms: float
    error_log: str
    input_size: int
    output_size: int
    error_type: str | None
    streamed: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    time_to_first_token_ms: float | None = None
    time_per_output_token_ms: float | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: str | None = None
    operation: str | None = None
    upstream: str | None = None
    attempts: int | None = None
    queue_ms: float | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.model_id, self.input_size

    @property
    def latency_us(self) -> int:
        return round(self.latency_ms * 1000)


class Page(msgspec.Struct):
    """A page of the history."""

    history: list[Row]
    total_count: int
    next_cursor: str | None


class ModelStats(msgspec.Struct):
    """A model's statistics, as far as they are compared."""

    total_invocations: int
    successful_invocations: int
    failed_invocations: int
    total_latency_ms: float
    min_latency_ms: float
    max_latency_ms: float


class StatsAnswer(msgspec.Struct):
    """The answer of `/metrics/stats`."""

    stats: dict[str, ModelStats]


@dataclass(frozen=True)
class Views:
    """All of one moment at rest. `total_count` is what the last page said of all rows, `differences` what the
    sidecar found when it compared its own books."""

    rows: list[Row]
    total_count: int
    stats: Mapping[str, ModelStats]
    series: Series
    differences: str = ""


class Sidecar:
    """Reads of the sidecar's HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url
        timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True))

    async def get(self, path: str) -> bytes:
        """The body of a 200; `aiohttp.ClientError`, `TimeoutError` or `OSError` otherwise."""
        async with self._session.get(self._url + path, raise_for_status=True) as response:
            return await response.read()

    async def is_ready(self) -> bool:
        async with self._session.get(f"{self._url}/readyz") as response:
            return response.status == 200

    async def series(self) -> Series:
        return parse_series((await self.get("/metrics")).decode())

    async def views(self) -> Views:
        """Everything; only at rest do its parts belong to one moment."""
        rows: list[Row] = []
        cursor = ""
        while True:
            body = await self.get(f"/metrics/history?order=asc&limit={PAGE_ROWS}{cursor}")
            page = msgspec.json.decode(body, type=Page)
            rows += page.history
            if page.next_cursor is None:
                break
            cursor = f"&cursor={page.next_cursor}"
        stats = msgspec.json.decode(await self.get("/metrics/stats"), type=StatsAnswer).stats
        own = msgspec.json.decode(await self.get("/metrics/reconcile"), type=Reconciliation)
        differences = "" if own.consistent else bytes(own.differences).decode()
        return Views(rows, page.total_count, stats, await self.series(), differences)

    async def aclose(self) -> None:
        await self._session.close()


def parse_series(text: str) -> Series:
    """The samples of an exposition in Prometheus' text format."""
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def count_of(series: Series, name: str) -> int:
    """The sum over all labels of one family."""
    return int(sum(value for key, value in series.items() if key == name or key.startswith(name + "{")))
