"""Records per second into the sidecar, from the socket to the acknowledgement, beside a loop of executemany."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from invoker.delivery.outbox import BATCH_RECORDS
from shared.record import Record
from tests.bench.figures import Budget, Outcome, Point, figure
from tests.bench.ground import Ground, interleaved, middle
from tests.bench.machine import MEASURED_CORES, pinned
from tests.bench.producers import Frame, make_frames, make_records, ship_all, tell_all
from tests.processes import Process

RECORDS, MODELS, PRODUCERS = 1_000_000, 1_000, 2
TOLD = 500_000
SWEEP_RECORDS = 200_000
BATCHES = (16, 64, 256, 512, 1024, 4096)
YARDSTICK = "loop of executemany"


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of so many records took, and what it left on disk."""

    records: int
    wall_s: float
    cpu_s: float
    bytes: int

    @property
    def per_cpu_s(self) -> float:
        return self.records / self.cpu_s

    @property
    def rate(self) -> float:
        return self.records / self.wall_s


def measure(on: Ground) -> Outcome:
    records = make_records(on.effort.count(RECORDS), MODELS)
    shares, told = (split(some, BATCH_RECORDS) for some in (records, tell_all(records[: on.effort.count(TOLD)])))
    samples = interleaved(
        on.effort.rounds,
        {
            YARDSTICK: lambda: _plain(on, len(records)),
            "sidecar": lambda: _ship(on, shares),
            "all fields": lambda: _ship(on, told),
        },
    )
    plain, ours, full = samples[YARDSTICK], samples["sidecar"], samples["all fields"]
    costs = [middle(runs, lambda run: run.cpu_s * 1e6 / run.records) for runs in (plain, ours)]
    walls = {
        "records/s on the clock": middle(ours, lambda run: run.rate),
        f"{YARDSTICK}, on the clock": middle(plain, lambda run: run.rate),
    }
    size = middle(ours, lambda run: run.bytes / run.records)
    figures = [
        figure(
            "durable records, socket to acknowledgement",
            "records/CPU-s",
            middle(ours, lambda run: run.per_cpu_s),
            yardstick=(YARDSTICK, middle(plain, lambda run: run.per_cpu_s)),
            budget=Budget("ours", at_least=100_000),
            extra=walls,
        ),
        figure("CPU per record", "µs", costs[1], yardstick=(YARDSTICK, costs[0]), budget=Budget("ratio", at_most=1.5)),
        figure(
            "disk per record, after a checkpoint",
            "bytes",
            size,
            yardstick=(YARDSTICK, middle(plain, lambda run: run.bytes / run.records)),
            budget=Budget("ours", at_most=80),
            measurable=not on.effort.quick,  # a small file is mostly its fixed part
        ),
    ]
    figures += [
        figure("CPU per record with all fields", "µs", middle(full, lambda run: run.cpu_s * 1e6 / run.records)),
        figure(
            "disk per record with all fields",
            "bytes",
            middle(full, lambda run: run.bytes / run.records),
            budget=Budget("ours", at_most=160),
            measurable=not on.effort.quick,
        ),
    ]
    return Outcome(figures, _sweep(on, records[: on.effort.count(SWEEP_RECORDS)]))


def _sweep(on: Ground, records: list[Record]) -> list[Point]:
    """The rate against the size of a batch."""
    points = []
    for batch in BATCHES:
        run = _ship(on, split(records, batch))
        points.append(Point("ingest-by-batch", "per CPU-second of the sidecar", batch, run.per_cpu_s))
        points.append(Point("ingest-by-batch", "per second", batch, run.rate))
    return points


def split(records: list[Record], batch: int) -> list[list[Frame]]:
    """The records as frames of some producers."""
    return [make_frames(records[number::PRODUCERS], batch) for number in range(PRODUCERS)]


def _ship(on: Ground, shares: Sequence[Sequence[Frame]]) -> Run:
    system, sidecar = on.sidecar()
    process: Process = system.processes[-1]
    before_s = sidecar.cpu_s()
    wall_s = ship_all(system.socket, shares)
    cpu_s = sidecar.cpu_s() - before_s
    process.stop()  # closes the store, which checkpoints it
    count = sum(frame.records for share in shares for frame in share)
    size = sum(path.stat().st_size for path in system.data.glob("history.db*"))
    _remove(system.data)
    return Run(count, wall_s, cpu_s, size)


def _plain(on: Ground, count: int) -> Run:
    directory = on.new_directory()
    command = [sys.executable, "-m", "tests.bench.yardsticks.executemany", str(directory / "history.db")]
    with pinned(MEASURED_CORES):
        done = subprocess.run(
            [*command, str(count), str(MODELS)], capture_output=True, text=True, check=True, timeout=300
        )
    _remove(directory)
    found = json.loads(done.stdout)
    return Run(count, found["wall_s"], found["cpu_s"], found["bytes"])


def _remove(directory: Path) -> None:
    for path in directory.glob("history.db*"):
        path.unlink()
