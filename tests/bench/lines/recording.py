"""What recording costs the gateway: alone in a loop, and as the difference to a gateway that records nothing."""

import subprocess
import sys
from statistics import median

from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import Ground, Server, interleaved, middle
from tests.bench.load import run_of, timed, warm_up
from tests.bench.machine import MEASURED_CORES, pinned
from tests.bench.yardsticks import nginx
from tests.processes import Process

BUDGET = Budget("ours", at_most=6.0)


def measure(on: Ground) -> Outcome:
    alone = median(_loop(on) for _ in range(on.effort.rounds))
    upstream = on.nginx("upstream", nginx.FIXED_UPSTREAM, measured=False).url
    servers: list[Server] = [on.gateway(upstream), null_gateway(on, upstream)]
    warm_up(on, servers)
    load = timed(on.effort, 3.0)
    runs = {server.name: run_of(server, load, on.directory) for server in servers}
    with_it, without = interleaved(on.effort.rounds, runs).values()
    cost, bare = (middle(samples, lambda run: run.cpu_us) for samples in (with_it, without))
    differences = [one.cpu_us - other.cpu_us for one, other in zip(with_it, without, strict=True)]
    return Outcome(
        [
            figure("recording, begin + append + read + encode, in a loop", "CPU µs", alone, budget=BUDGET),
            figure(
                "recording, in the gateway: with it minus without",
                "CPU µs",
                median(differences),
                budget=BUDGET,
                extra={"with it": cost, "without": bare},
            ),
        ]
    )


def null_gateway(on: Ground, upstream: str) -> Server:
    """The gateway without recording."""
    environment = {
        "INVOKER_PORT": "0",
        "INVOKER_UPSTREAM_URL": f"{upstream}/invoke",
        "INVOKER_JOURNAL_DIR": str(on.new_directory()),
    }
    with pinned(MEASURED_CORES):
        process = Process("tests.bench.null_gateway", environment)
    on.ends_with(process.kill_all)
    return Server("gateway that records nothing", process.event("worker.listening")["url"], process.pid)


def _loop(on: Ground) -> float:
    command = [sys.executable, "-m", "tests.bench.recording_loop", str(on.new_directory())]
    with pinned(MEASURED_CORES):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout)
