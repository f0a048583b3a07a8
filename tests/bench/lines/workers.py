"""How the gateway grows: CPU per request at 1, 2, 4 workers and 32, 256, 1,024 connections, and throughput."""

from collections.abc import Callable

from tests.bench.figures import Budget, Figure, Outcome, Point, figure
from tests.bench.ground import Gateway, Ground, interleaved, middle
from tests.bench.load import CONNECTIONS, Sample, run_of, timed, warm_up
from tests.bench.machine import CORES, MEASURED_CORES
from tests.bench.yardsticks import nginx

WORKERS = (1, 2, 4)
MANY_CONNECTIONS = (32, 256, 1024)
Samples = dict[tuple[int, int], list[Sample]]


def measure(on: Ground) -> Outcome:
    upstream = on.nginx("upstream", nginx.FIXED_UPSTREAM, measured=False).url
    gateways = {workers: on.gateway(upstream, INVOKER_WORKERS=str(workers)) for workers in WORKERS}
    warm_up(on, list(gateways.values()))
    runs = {
        (workers, connections): _run(on, gateway, connections)
        for connections in MANY_CONNECTIONS
        for workers, gateway in gateways.items()
    }
    samples = interleaved(on.effort.rounds, runs)
    costs = {key: middle(runs_, lambda run: run.cpu_us) for key, runs_ in samples.items()}
    points = [
        Point("cpu-by-connections", f"{workers} worker{'s' * (workers > 1)}", connections, cost)
        for (workers, connections), cost in costs.items()
    ]
    return Outcome([_throughput(samples), *_flatness(costs)], points)


def _run(on: Ground, gateway: Gateway, connections: int) -> Callable[[], Sample]:
    return run_of(gateway, timed(on.effort, 3.0, connections), on.directory)


def _throughput(samples: Samples) -> Figure:
    """Two workers need two cores for themselves, and what loads them two more."""
    rates = {key: middle(runs, lambda run: run.answers.rate) for key, runs in samples.items()}
    enough = len(MEASURED_CORES) >= 2
    return figure(
        "two workers",
        "req/s",
        rates[2, CONNECTIONS],
        yardstick=("one worker", rates[1, CONNECTIONS]),
        budget=Budget("ratio", at_least=1.8),
        measurable=enough,
        note="" if enough else f"not measurable on {len(CORES)} cores: both workers share one, the load has the other",
        extra={f"{workers} workers, {connections} connections": rate for (workers, connections), rate in rates.items()},
    )


def _flatness(costs: dict[tuple[int, int], float]) -> list[Figure]:
    base = costs[1, CONNECTIONS]
    return [
        figure(
            f"CPU per request, {workers} workers, {connections} connections",
            "µs",
            cost,
            yardstick=(f"1 worker, {CONNECTIONS} connections", base),
        )
        for (workers, connections), cost in costs.items()
        if (workers, connections) != (1, CONNECTIONS)
    ]
