"""A thousand streams at once: what the gateway adds to a token's age, and what a token and a stream cost it."""

import dataclasses
import subprocess
import sys
from functools import partial
from statistics import median

import msgspec

from tests.bench.figures import Budget, Figure, Outcome, figure
from tests.bench.ground import BenchError, Gateway, Ground, Server, interleaved, middle
from tests.bench.load import MODEL
from tests.bench.machine import LOAD_CORES, family, pinned, waited_s
from tests.bench.stream_callers import Found
from tests.bench.yardsticks import nginx

STREAMS, FEW_STREAMS = 1_000, 200
"""Of the first, a bare proxy can't pass on each token in its turn: many at once are cheaper."""
TOKENS_PER_SECOND = 20.0
SECONDS = 5.0
KIB = 1024
BARE, NGINX = "bare aiohttp proxy", "nginx proxy_pass"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: what its callers found, what each token cost the server in CPU time, its memory meanwhile, and for which
    share of the time it waited for a core that others had."""

    found: Found
    cpu_us: float
    rss_bytes: int
    waited: float


def measure(on: Ground) -> Outcome:
    upstream = on.python("upstream", "tests.bench.yardsticks.ticking", str(TOKENS_PER_SECOND), measured=False)
    gateway = on.gateway(upstream.url, INVOKER_OPENAI_URL=f"{upstream.url}/v1")
    bare = on.python(BARE, "tests.bench.yardsticks.bare_proxy", upstream.url)
    fastest = on.nginx(NGINX, nginx.proxy(upstream.url, "proxy_buffering off;"), measured=True)
    for server in (gateway, bare, fastest):
        run(on, server, 10, 1.0)
    idle = {server.name: server.rss_bytes() for server in (gateway, bare)}
    many, few, seconds = on.effort.count(STREAMS), on.effort.count(FEW_STREAMS), on.effort.seconds(SECONDS)
    costs = interleaved(
        on.effort.rounds, {server.name: partial(run, on, server, few, seconds) for server in (bare, gateway, fastest)}
    )
    runs = interleaved(
        on.effort.rounds, {server.name: partial(run, on, server, many, seconds) for server in (upstream, gateway)}
    )
    of_bare = run(on, bare, many, seconds)
    direct, through = runs[upstream.name], runs[gateway.name]
    cost = {name: middle(samples, _cpu_us) for name, samples in costs.items()}
    label, ours = f"{few:,} streams: CPU per token", cost[gateway.name]
    with_many = {f"with {many:,}": middle(through, _cpu_us), f"with {many:,}, {BARE}": of_bare.cpu_us}
    note = f"with {many:,}, the bare proxy has many tokens to pass on at once"
    half, bytes_each = Budget("ratio", at_most=0.5), (of_bare.rss_bytes - idle[BARE]) / many
    return Outcome(
        [
            _time_added(many, direct, through, of_bare, measurable=not on.effort.quick),
            figure(label, "µs", ours, yardstick=(BARE, cost[BARE]), budget=half, note=note, extra=with_many),
            figure(
                label, "µs", ours, yardstick=(NGINX, cost[NGINX]), note="hardly more than the kernel's reads and writes"
            ),
            figure(
                f"{many:,} streams: memory of each",
                "KiB",
                max(one.rss_bytes - idle[gateway.name] for one in through) / many / KIB,
                yardstick=(BARE, bytes_each / KIB),
                budget=Budget("ours", at_most=64.0),
                measurable=not on.effort.quick,
            ),
        ]
    )


def _cpu_us(one: Run) -> float:
    return one.cpu_us


def _time_added(many: int, direct: list[Run], through: list[Run], of_bare: Run, *, measurable: bool) -> Figure:
    """By pairs of runs that followed each other."""
    pairs = list(zip(direct, through, strict=True))
    return figure(
        f"{many:,} streams of {TOKENS_PER_SECOND:g} tokens/s: time added per token, p99",
        "ms",
        median(ours.found.p99_ms - alone.found.p99_ms for alone, ours in pairs),
        budget=Budget("ours", at_most=5.0),
        measurable=measurable,
        note="from its writing by the upstream to its arrival, beside callers of the upstream itself; for "
        f"{middle(through, lambda one: one.waited):.1%} of the time the gateway waited for a core that others had",
        extra={
            "p50": median(ours.found.p50_ms - alone.found.p50_ms for alone, ours in pairs),
            "direct p99": middle(direct, lambda one: one.found.p99_ms),
            "through p99": middle(through, lambda one: one.found.p99_ms),
            f"{BARE}, p99": of_bare.found.p99_ms,
        },
    )


def run(on: Ground, server: Server, streams: int, seconds: float) -> Run:
    """`BenchError` if a stream isn't whole, or the sidecar has another number of them."""
    before = _recorded(server)
    command = [sys.executable, "-m", "tests.bench.stream_callers", server.url]
    command += [str(streams), str(TOKENS_PER_SECOND), str(seconds)]
    with pinned(LOAD_CORES), subprocess.Popen(command, stdout=subprocess.PIPE) as callers:
        assert callers.stdout is not None
        on.ends_with(callers.kill)
        callers.stdout.readline()
        pids = family(server.pid)
        before_s, waited_before_s = server.cpu_s(), waited_s(pids)
        callers.stdout.readline()
        cpu_s, rss, waited = server.cpu_s() - before_s, server.rss_bytes(), waited_s(pids) - waited_before_s
        last = callers.stdout.readline()
    if callers.returncode:
        raise BenchError(f"callers of {server.name} ended with {callers.returncode}")
    found = msgspec.json.decode(last, type=Found)
    if found.whole != streams or not found.chunks:
        raise BenchError(f"{server.name}: of {streams} streams {found.whole} came whole: {found}")
    if isinstance(server, Gateway):
        server.system.settled(MODEL, before + streams)
        if (recorded := _recorded(server) - before) != streams:
            raise BenchError(f"{streams} streams came, the sidecar has {recorded} successes")
    return Run(found, cpu_s * 1e6 / found.chunks, rss, waited / seconds)


def _recorded(server: Server) -> int:
    """Successes."""
    if not isinstance(server, Gateway):
        return 0
    recorded: int = server.system.stats(MODEL).get("successful_invocations", 0)
    return recorded
