"""The machine: what it is, which cores do what, and what a process costs on it.

Cores are split in two halves. What is measured runs on one; what makes it work (load generator,
upstream, and the sidecar where the gateway is measured) runs on the other, so that neither is
scheduled in the other's place. With one core nothing is pinned. Where it matters how long answers
take, not what they cost, the measured processes have all cores (`asked`, and `lines.export`).

CPU time is read from the clock that the kernel keeps per process (`clock_getcpuclockid`): the same
utime + stime as in `/proc/<pid>/stat`, all threads, in nanoseconds instead of ticks of 10 ms.
"""

import contextlib
import os
import platform
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from tests.bench.figures import Machine

CORES = sorted(os.sched_getaffinity(0))
LOAD_CORES = frozenset(CORES[: max(len(CORES) // 2, 1)])
MEASURED_CORES = frozenset(CORES[len(CORES) // 2 :])
LOOPS = 20


def describe() -> Machine:
    """This machine, as results name it."""
    version = platform.python_version()
    return Machine(_processor(), len(CORES), platform.platform(), version, sqlite3.sqlite_version)


def pace_ms() -> float:
    """How long a million additions in a loop of Python take just now."""
    times_s = []
    for _ in range(LOOPS):
        started = time.perf_counter()
        total = 0
        for number in range(1_000_000 // LOOPS):
            total += number
        times_s.append(time.perf_counter() - started)
    return median(times_s) * LOOPS * 1000


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


@contextlib.contextmanager
def pinned(cores: Iterable[int]) -> Iterator[None]:
    """Processes started inside run on these cores only, and so do their children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """A process and all its descendants that live."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used so far."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)  # 2: CPUCLOCK_SCHED


def waited_s(pids: Iterable[int]) -> float:
    """Seconds that the threads of these processes could have run, had others not had their cores."""
    waited = 0
    for pid in pids:
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                waited += int(stat.read_text().split()[1])
    return waited / 1e9


def rss_bytes(pids: Iterable[int], *, peak: bool = False) -> int:
    """Resident memory of these processes together: now, or at its highest since `forget_peak`."""
    key = "VmHWM:" if peak else "VmRSS:"
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key):
                total += int(line.split()[1]) * 1024
    return total


def forget_peak(pids: Iterable[int]) -> None:
    """Let `rss_bytes(peak=True)` start anew."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
