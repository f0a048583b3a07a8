"""A scrape of /metrics with many models, all changed since the last one, beside `generate_latest`."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from shared.wire import SUM_US, UPSTREAM_BOUNDS_S, Report
from tests.bench.figures import Budget, Figure, Outcome, Point, figure
from tests.bench.ground import Ground, Server, interleaved, middle
from tests.bench.http import Client, Pinger, metric_lines
from tests.bench.machine import MEASURED_CORES, pinned
from tests.bench.producers import Producer, make_frames, make_records

MODELS = {100: None, 1_000: 10.0, 5_000: 50.0}
"""Number of models and the budget of a scrape in ms."""
UPSTREAMS = 200
"""Beside 1,000 models; all of them with calls since the last scrape, which end in five ways."""
WITH_UPSTREAMS_MS = 15.0
LONGEST_BLOCK_MS = 10.0
SCRAPES = 7
SETTLE_S = 0.02
IDLE_STEP_S = 0.1
YARDSTICK = "generate_latest"
LOOP_LAG = "sidecar_event_loop_lag_seconds"


@dataclasses.dataclass(frozen=True)
class Scrapes:
    """One round: medians of ms on the clock and of CPU, the longest block of the loop, and the size."""

    wall_ms: float
    cpu_ms: float
    block_ms: float
    bytes: int


def measure(on: Ground) -> Outcome:
    figures: list[Figure] = []
    points: list[Point] = []
    for models, budget_ms in MODELS.items():
        found, plain_ms, lag = _measure_models(on, models)
        points.append(Point("scrape-by-models", YARDSTICK, models, plain_ms))
        for encoding, rounds in found.items():
            cpu_ms = middle(rounds, lambda one: one.cpu_ms)
            points.append(Point("scrape-by-models", f"sidecar, {encoding}", models, cpu_ms))
            if budget_ms is not None:
                figures += _judge(f"{models:,} models, {encoding}", rounds, budget_ms, plain_ms, lag)
    found, plain_ms, lag = _measure_models(on, 1_000, UPSTREAMS)
    for encoding, rounds in found.items():
        label = f"1,000 models and {UPSTREAMS} upstreams, {encoding}"
        figures += _judge(label, rounds, WITH_UPSTREAMS_MS, plain_ms, lag)
    return Outcome(figures, points)


def _judge(label: str, rounds: list[Scrapes], budget_ms: float, plain_ms: float, lag: dict[str, float]) -> list[Figure]:
    wall_ms = middle(rounds, lambda one: one.wall_ms)
    return [
        figure(
            f"scrape, {label}",
            "CPU ms",
            middle(rounds, lambda one: one.cpu_ms),
            yardstick=(YARDSTICK, plain_ms),
            budget=Budget("ours", at_most=budget_ms),
            extra={"ms on the clock": wall_ms, "KiB": rounds[0].bytes / 1024},
        ),
        figure(
            f"scrape, {label}: longest wait of a ping",
            "ms",
            middle(rounds, lambda one: one.block_ms),
            budget=Budget("ours", at_most=LONGEST_BLOCK_MS),
            note="" if lag else f"seen from outside, the machine's own delays included: there is no {LOOP_LAG}",
            extra=lag,
        ),
    ]


def _measure_models(
    on: Ground, models: int, upstreams: int = 0
) -> tuple[dict[str, list[Scrapes]], float, dict[str, float]]:
    system, sidecar = on.sidecar(SIDECAR_MAX_MODELS=str(max(models, 1_000)))
    producer = Producer(system.socket)
    changes = _Changes(producer, models, upstreams)
    runs: dict[str, Callable[[], Scrapes]] = {
        "plain": lambda: _scrape(on, sidecar, changes, {"Accept-Encoding": "identity"}),
        "gzip": lambda: _scrape(on, sidecar, changes, {"Accept-Encoding": "gzip"}),
    }
    changes.make()
    with Client(sidecar.url) as client:
        client.get("/metrics")  # renders each model's templates, which later ones find ready
    found = interleaved(on.effort.rounds, runs)
    with Client(sidecar.url) as client:
        lag = metric_lines(client.get("/metrics").decode(), LOOP_LAG)
    producer.close()
    return found, _official(models, 3 if on.effort.quick else 9), lag


class _Changes:
    """A record of each model, and attempts at each upstream, again and again: no scrape finds what the one before it
    found."""

    def __init__(self, producer: Producer, models: int, upstreams: int) -> None:
        self._producer = producer
        self._upstreams = [f"10.0.{number // 250}.{number % 250}:8000" for number in range(upstreams)]
        self._records = make_records(models, models)
        self._next = 1

    def make(self) -> None:
        self._producer.ship(make_frames(self._records, first_sequence=self._next))
        self._next += len(self._records)
        if self._upstreams:
            self._producer.report(self._report())
        time.sleep(SETTLE_S)

    def _report(self) -> Report:
        counts = dict.fromkeys(("success", "busy", "connect", "timeout", "upstream_status"), self._next)
        heads = {**dict.fromkeys([*map(str, UPSTREAM_BOUNDS_S), "+Inf"], self._next), SUM_US: self._next * 1000}
        return Report(
            labelled={
                "invoker_upstream_attempts_total": dict.fromkeys(self._upstreams, counts),
                "invoker_upstream_latency_seconds": dict.fromkeys(self._upstreams, heads),
            },
            labelled_gauges={
                "invoker_upstream_healthy": dict.fromkeys(self._upstreams, 1.0),
                "invoker_upstream_outstanding": dict.fromkeys(self._upstreams, float(self._next)),
            },
        )


def _scrape(on: Ground, sidecar: Server, changes: _Changes, headers: dict[str, str]) -> Scrapes:
    """Scrapes of changed totals; then the same with pings beside them, whose CPU time is not counted."""
    scrapes = 3 if on.effort.quick else SCRAPES
    walls, costs, body = [], [], b""
    with Client(sidecar.url) as client:
        client.get("/healthz")
        for _ in range(scrapes):
            changes.make()
            _wait_idle(sidecar)  # what rolls these records up is no part of the scrape
            started, started_cpu = time.perf_counter(), sidecar.cpu_s()
            body = client.get("/metrics", headers)
            walls.append(time.perf_counter() - started)
            costs.append(sidecar.cpu_s() - started_cpu)
        blocks = []
        for _ in range(scrapes):
            changes.make()
            with Pinger(sidecar.url) as pinger:
                time.sleep(SETTLE_S)
                client.get("/metrics", headers)
                time.sleep(SETTLE_S)
            blocks.append(pinger.longest_ms)
    return Scrapes(median(walls) * 1000, median(costs) * 1000, median(blocks), len(body))


def _wait_idle(sidecar: Server) -> None:
    """Until the sidecar spends less than a tenth of its time."""
    spent_s = IDLE_STEP_S
    while spent_s > IDLE_STEP_S / 10:
        before_s = sidecar.cpu_s()
        time.sleep(IDLE_STEP_S)
        spent_s = sidecar.cpu_s() - before_s


def _official(models: int, scrapes: int) -> float:
    command = [sys.executable, "-m", "tests.bench.yardsticks.official_client", str(models), str(scrapes)]
    with pinned(MEASURED_CORES):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return float(done.stdout)
