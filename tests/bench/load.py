"""Load by wrk, and what a server spends on it."""

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench.ground import BenchError, Effort, Gateway, Ground, Server, find_command
from tests.bench.machine import LOAD_CORES, pinned

SCRIPT = Path(__file__).parent / "wrk" / "load.lua"
MODEL = "bench"
CONNECTIONS = 32
QUIET_S = 0.1
SMALL_BODY = b'{"worklet_input":{"model_id":"bench","input":[1,2,3,4,5]}}'
SMALL_OUTPUT = '"worklet_output":[6,7,8,9,10]'


class Answers(msgspec.Struct, frozen=True):
    """What wrk counted. Latencies are from the request's first byte to the answer's last."""

    requests: int
    duration_us: int
    bytes: int
    wrong: int
    status_errors: int
    socket_errors: int
    timeouts: int
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def rate(self) -> float:
        return self.requests / (self.duration_us / 1e6)


@dataclasses.dataclass(frozen=True)
class Load:
    """A load: so many keep-alive connections POST the body to the path for so long, as fast as they can, or with a
    random wait of `delay_ms` on average before each request."""

    seconds: float
    connections: int = CONNECTIONS
    body: bytes = SMALL_BODY
    delay_ms: int = 0
    expected: tuple[str, str] | None = None
    path: str = "/invoke"


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run: what wrk counted, and the CPU time that the measured server and the sidecar spent on it."""

    answers: Answers
    cpu_s: float
    sidecar_cpu_s: float = 0.0

    @property
    def cpu_us(self) -> float:
        """CPU µs per request."""
        return self.cpu_s * 1e6 / self.answers.requests

    @property
    def per_cpu_s(self) -> float:
        """Requests per CPU-second."""
        return self.answers.requests / self.cpu_s

    @property
    def sidecar_us(self) -> float:
        return self.sidecar_cpu_s * 1e6 / self.answers.requests


def put_load(server: Server, load: Load, directory: Path) -> Answers:
    """Run wrk. `BenchError` if a single request failed."""
    body_file = directory / "body.json"
    body_file.write_bytes(load.body)
    environment = {
        **os.environ,
        "BENCH_BODY_FILE": str(body_file),
        "BENCH_DELAY_MS": str(load.delay_ms),
        "BENCH_EXPECTED": "\n".join(load.expected or ()),
    }
    options = ["-t1", f"-c{load.connections}", f"-d{max(round(load.seconds), 1)}s", "--timeout", "20s"]
    with pinned(LOAD_CORES):
        done = subprocess.run(
            [find_command("wrk"), *options, "-s", str(SCRIPT), f"{server.url}{load.path}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=load.seconds + 60,
        )
    line = next((line for line in done.stdout.splitlines() if line.startswith("JSON ")), None)
    if line is None:
        raise BenchError(f"wrk failed on {server.name}: {done.stdout} {done.stderr}")
    answers = msgspec.json.decode(line.removeprefix("JSON "), type=Answers)
    if answers.wrong or answers.status_errors or answers.socket_errors or answers.timeouts or not answers.requests:
        raise BenchError(f"{server.name} did not answer all well: {answers}")
    return answers


def sample(server: Server, load: Load, directory: Path) -> Sample:
    """Put the load on and see what it costs. Of a gateway that records, the cost includes that all of its
    records are committed; it is a `BenchError` if the sidecar then has another number of them."""
    if not isinstance(server, Gateway):
        before_s = server.cpu_s()
        answers = put_load(server, load, directory)
        return Sample(answers, server.cpu_s() - before_s)
    before = _counts(server)
    before_s, sidecar_before_s = server.cpu_s(), server.sidecar.cpu_s()
    answers = put_load(server, load, directory)
    after = _settled_counts(server, before.total + answers.requests)
    _check_counts(answers, load, before, after)
    return Sample(answers, server.cpu_s() - before_s, server.sidecar.cpu_s() - sidecar_before_s)


@dataclasses.dataclass(frozen=True)
class Counts:
    """What the sidecar has counted of the load's model."""

    total: int
    failed: int


def _counts(gateway: Gateway) -> Counts:
    stats = gateway.system.stats(MODEL)
    return Counts(stats.get("total_invocations", 0), stats.get("failed_invocations", 0))


def _settled_counts(gateway: Gateway, total: int) -> Counts:
    """Once there are so many, and no more come: calls that wrk gave up at its end are recorded, too."""
    gateway.system.settled(MODEL, total)
    counts = _counts(gateway)
    while True:
        time.sleep(QUIET_S)
        if counts == (counts := _counts(gateway)):
            return counts


def _check_counts(answers: Answers, load: Load, before: Counts, after: Counts) -> None:
    """The sidecar must have each answer, and beyond them at most one call per connection, given up at the end."""
    unanswered = after.total - before.total - answers.requests
    if not 0 <= unanswered <= load.connections or after.failed - before.failed > load.connections:
        raise BenchError(f"wrk counted {answers.requests} answers, the sidecar {unanswered} more: {before}, {after}")


def warm_up(on: Ground, servers: list[Server]) -> None:
    """A second of load on each server, so that pools, caches and specialised bytecode are in place. Its records are
    committed at its end: otherwise they would be counted with the next load's."""
    for server in servers:
        sample(server, Load(1.0), on.directory)


def run_of(server: Server, load: Load, directory: Path) -> Callable[[], Sample]:
    """`sample`, to be called later."""
    return lambda: sample(server, load, directory)


def timed(effort: Effort, seconds: float, connections: int = CONNECTIONS, body: bytes = SMALL_BODY) -> Load:
    """A load that runs as long as the effort allows."""
    return Load(effort.seconds(seconds), connections, body)
