"""What a line stands on: a directory, and processes that are all gone at its end."""

import contextlib
import dataclasses
import mmap
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import TypeVar

from tests.bench.machine import LOAD_CORES, MEASURED_CORES, cpu_s, family, pinned, rss_bytes
from tests.processes import Process, System

Key = TypeVar("Key")
Sample = TypeVar("Sample")
START_TIMEOUT_S = 20.0
PACKAGES = {"wrk": "wrk", "nginx": "nginx-light"}


class BenchError(Exception):
    """Something went wrong that makes the figures worthless; the message says what."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long and how often to measure. `quick` only shows that everything works."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 3

    def seconds(self, full: float) -> float:
        return min(full, 1.0) if self.quick else full

    def count(self, full: int) -> int:
        return max(full // 100, 1) if self.quick else full


@dataclasses.dataclass(frozen=True)
class Server:
    """A process that answers at a URL, and what it costs."""

    name: str
    url: str
    pid: int

    def cpu_s(self) -> float:
        return cpu_s(family(self.pid))

    def rss_bytes(self, *, peak: bool = False) -> int:
        return rss_bytes(family(self.pid), peak=peak)


@dataclasses.dataclass(frozen=True)
class Gateway(Server):
    """A gateway with the sidecar that it records to."""

    system: System
    sidecar: Server


class Ground:
    """Starts servers: those measured on one half of the cores, the others on the other half."""

    def __init__(self, directory: Path, effort: Effort) -> None:
        self.directory = directory
        self.effort = effort
        self._stack = contextlib.ExitStack()
        self._count = 0

    def new_directory(self) -> Path:
        self._count += 1
        directory = self.directory / str(self._count)
        directory.mkdir()
        return directory

    def keep_in_memory(self, file: Path) -> None:
        """As a machine does that has memory to spare: a virtual one may give back what was not read for a minute. Pages
        of a file that a process has mapped, as the bench does here, are left."""
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
        self.ends_with(mapped.close)

    def python(self, name: str, module: str, *arguments: str, measured: bool = True) -> Server:
        """A Python server of the bench: it logs `listening` with its URL."""
        with pinned(MEASURED_CORES if measured else LOAD_CORES):
            process = Process(module, {"PYTHONWARNINGS": "default"}, *arguments)
        self._stack.callback(process.kill_all)
        return Server(name, process.event("listening")["url"], process.pid)

    def nginx(self, name: str, http: str, *, measured: bool) -> Server:
        """nginx as one process; `http` is its configuration, in which `{port}` is filled in."""
        directory, port = self.new_directory(), free_port()
        (directory / "nginx.conf").write_text(_nginx_config(http.replace("{port}", str(port))))
        command = [find_command("nginx"), "-p", str(directory), "-c", "nginx.conf", "-e", "error.log"]
        with pinned(MEASURED_CORES if measured else LOAD_CORES):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        _wait_for_port(port, directory / "error.log")
        return Server(name, f"http://127.0.0.1:{port}", process.pid)

    def sidecar(self, *, cores: Iterable[int] = MEASURED_CORES, **settings: str) -> tuple[System, Server]:
        """A sidecar of its own, and the system that it belongs to."""
        system = System(self.new_directory())
        self._stack.callback(_kill, system)
        with pinned(cores):
            process = system.start_sidecar(**settings)
        return system, Server("sidecar", system.sidecar_url, process.pid)

    def gateway(self, upstream: str, **settings: str) -> Gateway:
        """A gateway that records, with defaults, to a real sidecar, which runs beside the load."""
        system, sidecar = self.sidecar(cores=LOAD_CORES)
        system.upstream = f"{upstream}/invoke"
        with pinned(MEASURED_CORES):
            process = system.start_gateway(**settings)
        return Gateway("gateway", system.gateway_url, process.pid, system, sidecar)

    def ends_with(self, end: Callable[[], object]) -> None:
        """Call this when the line is over."""
        self._stack.callback(end)

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def ground(effort: Effort) -> Iterator[Ground]:
    """Ground for one line; the bench itself is part of the load meanwhile."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, pinned(LOAD_CORES):
        made = Ground(Path(name), effort)
        try:
            yield made
        finally:
            made.close()


def interleaved(rounds: int, runs: dict[Key, Callable[[], Sample]]) -> dict[Key, list[Sample]]:
    """What each run gives, one after the other in each round, so that all meet the same weather."""
    samples: dict[Key, list[Sample]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            samples[name].append(run())
    return samples


def middle(samples: list[Sample], value: Callable[[Sample], float]) -> float:
    """The median of a value of the samples."""
    return median(map(value, samples))


def _kill(system: System) -> None:
    for process in system.processes:
        process.kill_all()


def find_command(command: str) -> str:
    """Where it is, which for nginx may be where only root looks; `BenchError` that names the package if it is not."""
    found = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError(f"{command} is missing; on Debian: apt-get install {PACKAGES[command]}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if time.monotonic() > deadline:
            raise BenchError(f"nginx does not listen: {log.read_text() if log.exists() else ''}")
        time.sleep(0.02)


def _nginx_config(http: str) -> str:
    temporary = "".join(f"{kind}_temp_path {kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""
daemon off; master_process off; pid nginx.pid; error_log error.log error;
events {{ worker_connections 8192; }}
http {{
access_log off; keepalive_requests 1000000000; client_max_body_size 0;
{temporary}
{http}
}}
"""
