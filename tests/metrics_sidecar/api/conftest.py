"""An application with all routes, whose ledger is a fake."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from metrics_sidecar.api.reconcile import EXAMPLE
from metrics_sidecar.api.routes import setup_routes
from metrics_sidecar.api.sidecar import SIDECAR, Readiness, Sidecar
from metrics_sidecar.history.aggregate import ALL, LATENCY, Ask, Measure, Table
from metrics_sidecar.history.backend import DiskUse
from metrics_sidecar.history.exports import Export
from metrics_sidecar.history.queries import HistoryPage, HistoryQuery, HistoryRow, StoreError
from metrics_sidecar.history.reconcile import Reconciliation
from metrics_sidecar.ledger.totals import ModelTotals, aggregate
from metrics_sidecar.metrics.live import Families, Snapshot
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from shared.errors import problem_middleware
from shared.record import ErrorType, Record
from tests.metrics_sidecar.api.exports import FakeExporter

Client = TestClient[web.Request, web.Application]

TIMESTAMP_US = 1_705_314_600_000_000  # 2024-01-15T10:30:00Z


def row_of(row_id: int, record: Record) -> HistoryRow:
    return HistoryRow(id=str(row_id), **msgspec.structs.asdict(record))


ROW = row_of(1, Record("gpt-3.5", TIMESTAMP_US, 150_000, None, "", 5, 5, "4bf92f3577b34da6a3ce929d0e0e4736", "r-1"))
FAILED_ROW = row_of(2, Record("gpt-3.5", TIMESTAMP_US + 1, 1_500, ErrorType.TIMEOUT, "No answer in 30 s", 5))


Question = HistoryQuery | Ask | str


class Group(NamedTuple):
    """A row of a table, with all that may be asked of it."""

    name: str
    minute: int
    sums: dict[Measure, int]
    percentiles_us: dict[int, float]
    errors: dict[str, int]
    of_streams_us: Mapping[Measure, dict[int, float]] = MappingProxyType({})

    def percentile_us(self, spread: Measure, percent: int) -> float | None:
        return {**self.of_streams_us, LATENCY: self.percentiles_us}.get(spread, {}).get(percent)


NOW_US = TIMESTAMP_US + 90_000_000


class FixedClock:
    """It is always `NOW_US`."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_us(self) -> int:
        return 0


class FakeReader:
    """Answers as it is told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.found = HistoryPage([FAILED_ROW, ROW], 2, None)
        self.groups: list[Group] = []
        self.totals: dict[str, ModelTotals] = {}
        self.asked: list[Question] = []
        self.failure: Exception | None = None
        self.exporter = FakeExporter()

    async def page(self, query: HistoryQuery) -> HistoryPage:
        self._ask(query)
        return self.found

    async def one(self, row_id: str) -> HistoryRow | None:
        self._ask(row_id)
        return next((row for row in self.found.rows if row.id == row_id), None)

    async def aggregate(self, ask: Ask) -> Table:
        self._ask(ask)
        all_, prefixes = not (ask.models or ask.prefixes or ask.by is None), tuple(ask.prefixes)
        groups = [
            group
            for group in self.groups
            if all_ or ask.by is None or group.name in ask.models or group.name.startswith(prefixes)
        ]
        return Table(
            window=ask.window,
            groups=[group.name if ask.by else ALL for group in groups],
            minutes=[group.minute for group in groups],
            sums={measure: [group.sums.get(measure, 0) for group in groups] for measure in ask.measures},
            percentiles_us={
                spread: {
                    percent: [group.percentile_us(spread, percent) for group in groups] for percent in ask.percents
                }
                for spread in ask.spreads
            },
            errors=[group.errors for group in groups] if ask.errors else [],
        )

    def rows(self, wanted: Export) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.exporter.export(wanted)

    async def reconcile(self) -> Reconciliation:
        self._ask("")
        return EXAMPLE

    def break_down(self) -> None:
        self.failure = StoreError("disk I/O error")

    def _ask(self, question: Question) -> None:
        self.asked.append(question)
        if self.failure is not None:
            raise self.failure


def group_of(name: str, *latencies_us: int, failures: int = 0, minute: int = 0) -> Group:
    """Of successes with these latencies, of which the first `failures` are timeouts instead; what stands for all
    percentiles is the largest."""
    sums: dict[Measure, int] = {
        "success_count": len(latencies_us) - failures,
        "failure_count": failures,
        "latency_us": sum(latencies_us),
        "min_latency_us": min(latencies_us),
        "max_latency_us": max(latencies_us),
        "last_timestamp_us": TIMESTAMP_US + len(latencies_us) - 1,
        "input_size": 5 * len(latencies_us),
        "output_size": 2 * len(latencies_us),
    }
    percentiles_us = dict.fromkeys((50, 90, 95, 99), float(max(latencies_us)))
    return Group(name, minute, sums, percentiles_us, {"timeout": failures} if failures else {})


def totals_of(*latencies_us: int, failures: int = 0) -> ModelTotals:
    """Totals of successes with these latencies, of which the first `failures` are timeouts instead."""
    return aggregate(
        Record("gpt-3.5", TIMESTAMP_US + number, latency_us, ErrorType.TIMEOUT if number < failures else None)
        for number, latency_us in enumerate(latencies_us)
    )["gpt-3.5"]


def make_app(reader: FakeReader, reasons: list[str]) -> web.Application:
    """The sidecar's application as `app.py` makes it, on a fake ledger."""
    app = web.Application(middlewares=[problem_middleware])
    app[SIDECAR] = Sidecar(
        clock=FixedClock(),
        reader=reader,
        reconcile=reader.reconcile,
        readiness=lambda: Readiness("not_ready" if reasons else "ready", reasons),
        snapshot=lambda: Snapshot(reader.totals, {"starting": 1}, {}, {}),
        families=lambda: Families({}, {}),
        measure_disk=lambda: DiskUse(1, 2, 3),
        metrics=SidecarMetrics(),
    )
    setup_routes(app)
    return app


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
async def client(
    aiohttp_client: Callable[[web.Application], Awaitable[Client]], reader: FakeReader, reasons: list[str]
) -> Client:
    return await aiohttp_client(make_app(reader, reasons))
