"""Bodies from 1 KiB to 10 MiB, given back by the upstream: CPU per request and memory, beside a bare proxy."""

from random import Random

import msgspec

from tests.bench.figures import Budget, Figure, Outcome, Point, figure
from tests.bench.ground import Ground, Server, interleaved, middle
from tests.bench.load import MODEL, Load, Sample, run_of, warm_up
from tests.bench.machine import family, forget_peak

KIB, MIB = 2**10, 2**20
SIZES = {"1 KiB": (KIB, 32), "64 KiB": (64 * KIB, 32), "1 MiB": (MIB, 8), "10 MiB": (10 * MIB, 4)}
"""Size of the body and connections."""
NOT_SLOWER = Budget("ratio", at_most=1.0)


def measure(on: Ground) -> Outcome:
    upstream = on.python("echo", "tests.bench.yardsticks.echo", measured=False).url
    bare = on.python("bare aiohttp proxy", "tests.bench.yardsticks.bare_proxy", upstream)
    gateway = on.gateway(upstream)
    warm_up(on, [bare, gateway])
    figures: list[Figure] = []
    points: list[Point] = []
    for kind, make in {"text": text_body, "numbers": number_body}.items():
        for label, (size, connections) in SIZES.items():
            if kind == "numbers" and label != "1 MiB":
                continue
            load = Load(on.effort.seconds(2.0), connections, make(size))
            figures += _compare(on, [bare, gateway], load, f"{label} of {kind}", points if kind == "text" else [])
    return Outcome(figures, points)


def _compare(on: Ground, servers: list[Server], load: Load, label: str, points: list[Point]) -> list[Figure]:
    before = {server.name: server.rss_bytes() for server in servers}
    for server in servers:
        forget_peak(family(server.pid))
    samples = interleaved(on.effort.rounds, {server.name: run_of(server, load, on.directory) for server in servers})
    bare, ours = samples
    costs = {name: middle(runs, lambda run: run.cpu_us) for name, runs in samples.items()}
    growth = {server.name: (server.rss_bytes(peak=True) - before[server.name]) / MIB for server in servers}
    points += [Point("cpu-by-body", name, len(load.body), cost) for name, cost in costs.items()]
    extra = {name: middle(runs, _rate) for name, runs in samples.items()}
    found = [
        figure(
            f"body of {label}, CPU per request",
            "µs",
            costs[ours],
            yardstick=(bare, costs[bare]),
            budget=NOT_SLOWER,
            extra={f"{name}, req/s": rate for name, rate in extra.items()},
        )
    ]
    if len(load.body) >= MIB:
        in_flight_mib = load.connections * len(load.body) / MIB
        found.append(
            figure(
                f"body of {label}, {load.connections} in flight: memory beyond the idle",
                "MiB",
                growth[ours],
                yardstick=(bare, growth[bare]),
                extra={"times the bodies in flight": growth[ours] / in_flight_mib},
            )
        )
    return found


def _rate(run: Sample) -> float:
    return run.answers.rate


def text_body(size: int) -> bytes:
    """An invocation with a text of this many bytes."""
    return b'{"worklet_input":{"model_id":"%b","input":"%b"}}' % (MODEL.encode(), b"abcdefgh" * (size // 8))


def number_body(size: int) -> bytes:
    """An invocation with so many numbers that they take about this many bytes."""
    random = Random(1)
    numbers = [round(random.uniform(-1, 1), 6) for _ in range(size // 10)]
    return msgspec.json.encode({"worklet_input": {"model_id": MODEL, "input": numbers}})
