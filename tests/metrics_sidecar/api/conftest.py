"""An application with all routes, whose ledger is a fake."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from metrics_sidecar.api.reconcile import EXAMPLE
from metrics_sidecar.api.routes import setup_routes
from metrics_sidecar.api.sidecar import SIDECAR, Readiness, Sidecar
from metrics_sidecar.disk import DiskUse
from metrics_sidecar.history.queries import HistoryPage, HistoryQuery, HistoryRow, StoreError
from metrics_sidecar.history.reconcile import Reconciliation
from metrics_sidecar.history.windows import Series, SeriesAnswer, SeriesQuery, Window, WindowAnswer, WindowStats
from metrics_sidecar.ledger.totals import ModelTotals, aggregate
from metrics_sidecar.metrics.live import Snapshot
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from shared.errors import problem_middleware
from shared.record import ErrorType, Record
from tests.metrics_sidecar.api.exports import FakeExporter

Client = TestClient[web.Request, web.Application]

TIMESTAMP_US = 1_705_314_600_000_000  # 2024-01-15T10:30:00Z


def row_of(row_id: int, record: Record) -> HistoryRow:
    return HistoryRow(id=row_id, **msgspec.structs.asdict(record))


ROW = row_of(1, Record("gpt-3.5", TIMESTAMP_US, 150_000, None, "", 5, 5, "4bf92f3577b34da6a3ce929d0e0e4736"))
FAILED_ROW = row_of(2, Record("gpt-3.5", TIMESTAMP_US + 1, 1_500, ErrorType.TIMEOUT, "No answer in 30 s", 5))


Question = HistoryQuery | Window | SeriesQuery | int | str | tuple[tuple[str, ...], tuple[str, ...]]
Found = TypeVar("Found")

NOW_US = TIMESTAMP_US + 90_000_000


class FixedClock:
    """It is always `NOW_US`."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_us(self) -> int:
        return 0


class FakeQueries:
    """Answers as it is told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.page = HistoryPage([FAILED_ROW, ROW], 2, None)
        self.by_label: dict[str, ModelTotals] = {}
        self.stats: dict[str, WindowStats] = {}
        self.steps: Series = {}
        self.asked: list[Question] = []
        self.failure: Exception | None = None
        self.exporter = FakeExporter()

    async def history(self, query: HistoryQuery) -> HistoryPage:
        self._ask(query)
        return self.page

    async def invocation(self, row_id: int) -> HistoryRow | None:
        self._ask(row_id)
        return next((row for row in self.page.rows if row.id == row_id), None)

    async def totals(self, models: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, ModelTotals]:
        self._ask((tuple(models), tuple(prefixes)))
        return _of(models, prefixes, self.by_label)

    async def window(self, window: Window, models: Sequence[str], prefixes: Sequence[str] = ()) -> WindowAnswer:
        self._ask(window)
        return WindowAnswer(window, _of(models, prefixes, self.stats))

    async def series(self, query: SeriesQuery) -> SeriesAnswer:
        self._ask(query)
        steps = _of(query.models, query.prefixes, self.steps) if query.by_model else self.steps
        return SeriesAnswer(query.window, steps)

    async def reconcile(self) -> Reconciliation:
        self._ask("")
        return EXAMPLE

    def break_down(self) -> None:
        self.failure = StoreError("disk I/O error")

    def _ask(self, question: Question) -> None:
        self.asked.append(question)
        if self.failure is not None:
            raise self.failure


def _of(models: Sequence[str], prefixes: Sequence[str], by_model: dict[str, Found]) -> dict[str, Found]:
    return {
        model: one
        for model, one in by_model.items()
        if not (models or prefixes) or model in models or model.startswith(tuple(prefixes))
    }


def totals_of(*latencies_us: int, failures: int = 0) -> ModelTotals:
    """Totals of successes with these latencies, of which the first `failures` are timeouts instead."""
    return aggregate(
        Record("gpt-3.5", TIMESTAMP_US + number, latency_us, ErrorType.TIMEOUT if number < failures else None)
        for number, latency_us in enumerate(latencies_us)
    )["gpt-3.5"]


def make_app(queries: FakeQueries, reasons: list[str]) -> web.Application:
    """The sidecar's application as `app.py` makes it, on a fake ledger."""
    app = web.Application(middlewares=[problem_middleware])
    app[SIDECAR] = Sidecar(
        clock=FixedClock(),
        queries=queries,
        exporter=queries.exporter,
        reconcile=queries.reconcile,
        readiness=lambda: Readiness("not_ready" if reasons else "ready", reasons),
        snapshot=lambda: Snapshot(queries.by_label, {"starting": 1}, {}, {}),
        measure_disk=lambda: DiskUse(1, 2, 3),
        metrics=SidecarMetrics(),
    )
    setup_routes(app)
    return app


@pytest.fixture
def queries() -> FakeQueries:
    return FakeQueries()


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
async def client(
    aiohttp_client: Callable[[web.Application], Awaitable[Client]], queries: FakeQueries, reasons: list[str]
) -> Client:
    return await aiohttp_client(make_app(queries, reasons))
