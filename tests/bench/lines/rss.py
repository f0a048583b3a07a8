"""Memory of the sidecar against models and rows."""

from collections.abc import Iterator

from tests.bench.figures import Budget, Figure, Outcome, Point, figure
from tests.bench.ground import Ground, Server
from tests.bench.http import Client
from tests.bench.producers import Producer, make_frames, make_records

MIB = 2**20
MODELS = (10, 1_000, 5_000)
ROWS = (10_000, 1_000_000, 3_000_000)
MODELS_OF_ROWS = 1_000
CHUNK = 100_000
BUDGET = Budget("ours", at_most=150)


def measure(on: Ground) -> Outcome:
    figures: list[Figure] = []
    points: list[Point] = []
    for models in MODELS:
        ((_, rss_mib),) = _fill(on, models, [10_000])
        points.append(Point("rss-by-models", "sidecar", models, rss_mib))
        figures.append(figure(f"memory, {models:,} models, 10,000 rows", "MiB RSS", rss_mib))
    for rows, rss_mib in _fill(on, MODELS_OF_ROWS, list(map(on.effort.count, ROWS))):
        points.append(Point("rss-by-rows", "sidecar", rows, rss_mib))
        figures.append(_judge(rows, rss_mib, measurable=rows == ROWS[-1]))
    return Outcome(figures, points)


def _judge(rows: int, rss_mib: float, *, measurable: bool) -> Figure:
    name = f"memory, {MODELS_OF_ROWS:,} models, {rows:,} rows"
    if not measurable:
        return figure(name, "MiB RSS", rss_mib)
    return figure(name, "MiB RSS", rss_mib, budget=BUDGET, note="the budget is for 10,000,000 rows")


def _fill(on: Ground, models: int, steps: list[int]) -> Iterator[tuple[int, float]]:
    """A sidecar that is given rows up to each step in turn: rows and MiB, after a scrape and a page of history."""
    system, sidecar = on.sidecar(SIDECAR_MAX_MODELS=str(max(models, 1_000)))
    producer = Producer(system.socket)
    records = make_records(min(CHUNK, max(steps)), models)
    sent = 0
    for rows in steps:
        while sent < rows:
            part = records[: rows - sent]
            producer.ship(make_frames(part, first_sequence=sent + 1))
            sent += len(part)
        yield rows, _rss_mib(sidecar)
    producer.close()
    system.processes[-1].stop()


def _rss_mib(sidecar: Server) -> float:
    with Client(sidecar.url) as client:
        client.get("/metrics", {"Accept-Encoding": "gzip"})
        client.get("/metrics/history?limit=1000")
        client.get("/metrics/stats")
    return sidecar.rss_bytes() / MIB
