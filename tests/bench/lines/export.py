"""Files of ten million rows: out of a running sidecar, beside commits; and into a directory."""

import dataclasses
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from metrics_sidecar.settings import HISTORY_FILE
from tests.bench.figures import Budget, Figure, Outcome, figure
from tests.bench.ground import BenchError, Ground, Server
from tests.bench.history_store import make_history
from tests.bench.http import Pinger
from tests.bench.machine import CORES, MEASURED_CORES, pinned
from tests.bench.producers import Producer, make_frames, make_records

ROWS, IMPORTED_ROWS, MODELS = 10_000_000, 1_000_000, 1_000
TICK_S, TICK_RECORDS = 0.01, 20
"""2,000 records a second."""
ALONE_S = 10.0
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Taken:
    """Rows of a file, seconds until it was whole, of which on a processor, and its bytes."""

    rows: int
    wall_s: float
    cpu_s: float
    bytes: int


def measure(on: Ground) -> Outcome:
    directory = on.new_directory()
    rows = on.effort.count(ROWS)
    make_history(directory / HISTORY_FILE, rows, MODELS, time.time_ns() // 1000)
    on.keep_in_memory(directory / HISTORY_FILE)
    system, sidecar = on.sidecar(cores=CORES, SIDECAR_DATA_DIR=str(directory))
    before = sidecar.rss_bytes()
    alone_ms = _commit(system.socket, until=_after(on.effort.seconds(ALONE_S)))
    with ThreadPoolExecutor(1) as pool, Pinger(sidecar.url) as pinger:
        done = threading.Event()
        committing = pool.submit(_commit, system.socket, done.is_set)
        try:
            taken = _export(sidecar, rows)
        finally:
            done.set()
        beside_ms = committing.result()
    grown = (sidecar.rss_bytes(peak=True) - before) / MIB
    return Outcome(
        [
            figure(
                f"NDJSON of {rows:,} rows over HTTP, beside 2,000 commits/s",
                "rows/s",
                taken.rows / taken.wall_s,
                budget=Budget("ours", at_least=200_000),
                extra={"CPU µs per row": taken.cpu_s * 1e6 / taken.rows, "MiB": taken.bytes / MIB},
            ),
            figure("the sidecar's own memory meanwhile", "MiB more RSS", grown),
            figure("longest wait for /healthz meanwhile", "ms", pinger.longest_ms),
            _latency("acknowledgement beside an export, p99", beside_ms, alone_ms),
            _import(on),
        ]
    )


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _commit(socket: Path, until: Callable[[], bool]) -> list[float]:
    """Records, paced; how long each lot waited for its acknowledgement, in ms."""
    records = make_records(TICK_RECORDS, TICK_RECORDS)
    waits: list[float] = []
    producer, sequence, due = Producer(socket), 1, time.perf_counter()
    while not until() or not waits:
        frames = make_frames(records, first_sequence=sequence)
        started = time.perf_counter()
        producer.ship(frames)
        waits.append((time.perf_counter() - started) * 1000)
        sequence += TICK_RECORDS
        due += TICK_S
        time.sleep(max(due - time.perf_counter(), 0))
    producer.close()
    return waits


def _latency(name: str, waits_ms: list[float], alone_ms: list[float]) -> Figure:
    return figure(
        name,
        "ms",
        _p99(waits_ms),
        yardstick=("without an export", _p99(alone_ms)),
        extra={"max": max(waits_ms), "max without": max(alone_ms)},
    )


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else values[0]


def _export(sidecar: Server, rows: int) -> Taken:
    """The whole file, thrown away as it comes. The CPU time is that of the process that writes it, and the
    sidecar's."""
    connection = http.client.HTTPConnection(urlsplit(sidecar.url).netloc, timeout=60)
    before_s, reaped_s = sidecar.cpu_s(), _reaped_s(sidecar.pid)
    started = time.perf_counter()
    connection.request("GET", f"/metrics/export?until={time.time():.6f}")
    answer = connection.getresponse()
    found = size = 0
    while chunk := answer.read(MIB):
        found += chunk.count(b"\n")
        size += len(chunk)
    wall_s = time.perf_counter() - started
    connection.close()
    if answer.status != 200 or found < rows:
        raise BenchError(f"the export answered {answer.status} with {found:,} of {rows:,} rows")
    time.sleep(0.2)  # until the process is waited for
    cpu_s = sidecar.cpu_s() - before_s + _reaped_s(sidecar.pid) - reaped_s
    return Taken(found, wall_s, cpu_s, size)


def _reaped_s(pid: int) -> float:
    """CPU seconds of the processes that this one has started and waited for."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _import(on: Ground) -> Figure:
    """From a file into a new directory."""
    source, rows = on.new_directory(), on.effort.count(IMPORTED_ROWS)
    make_history(source / HISTORY_FILE, rows, MODELS, time.time_ns() // 1000)
    file = source / "export.ndjson"
    _run("export", source, "-o", str(file))
    took = [_run("import", on.new_directory(), str(file)) for _ in range(on.effort.rounds)]
    took.sort(key=lambda one: one.cpu_s)
    middle = took[len(took) // 2]
    return figure(
        f"import of {rows:,} rows from NDJSON",
        "rows/CPU-s",
        rows / middle.cpu_s,
        budget=Budget("ours", at_least=100_000),
        measurable=not on.effort.quick,  # it is mostly the start of the process then
        extra={"rows/s on the clock": rows / middle.wall_s},
    )


def _run(command: str, directory: Path, *arguments: str) -> Taken:
    """`metrics-sidecar` with these arguments."""
    with pinned(MEASURED_CORES):
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "metrics_sidecar", command, *arguments, "--data-dir", str(directory)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise BenchError(f"{command} ended with {process.returncode}")
    return Taken(0, time.perf_counter() - started, usage.ru_utime + usage.ru_stime, 0)
