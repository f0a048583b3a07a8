"""A scrape of /metrics with many models, all changed since the last one, beside `generate_latest`."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from tests.bench.figures import Budget, Figure, Outcome, Point, figure
from tests.bench.ground import Ground, Server, interleaved, middle
from tests.bench.http import Client, Pinger, metric_lines
from tests.bench.machine import MEASURED_CORES, pinned
from tests.bench.producers import Producer, make_frames, make_records

MODELS = {100: None, 1_000: 10.0, 5_000: 50.0}
"""Number of models and the budget of a scrape in ms."""
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
                figures += _judge(models, encoding, rounds, budget_ms, plain_ms, lag)
    return Outcome(figures, points)


def _judge(
    models: int, encoding: str, rounds: list[Scrapes], budget_ms: float, plain_ms: float, lag: dict[str, float]
) -> list[Figure]:
    label = f"{models:,} models, {encoding}"
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


def _measure_models(on: Ground, models: int) -> tuple[dict[str, list[Scrapes]], float, dict[str, float]]:
    system, sidecar = on.sidecar(SIDECAR_MAX_MODELS=str(max(models, 1_000)))
    producer = Producer(system.socket)
    changes = _Changes(producer, models)
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
    """A record of each model, again and again: no scrape finds what the one before it found."""

    def __init__(self, producer: Producer, models: int) -> None:
        self._producer = producer
        self._records = make_records(models, models)
        self._next = 1

    def make(self) -> None:
        self._producer.ship(make_frames(self._records, first_sequence=self._next))
        self._next += len(self._records)
        time.sleep(SETTLE_S)


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
