"""The latency that the gateway adds at half of the load that it can carry."""

import time
from collections.abc import Callable
from statistics import median

from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import Gateway, Ground, interleaved, middle
from tests.bench.http import Client, metric_lines
from tests.bench.load import Load, put_load, warm_up
from tests.bench.machine import family, waited_s
from tests.bench.open_load import Latencies, arrivals
from tests.bench.yardsticks import nginx

CONNECTIONS = 32
OVERHEAD = "invoker_overhead_seconds"


def measure(on: Ground) -> Outcome:
    upstream = on.nginx("upstream", nginx.FIXED_UPSTREAM, measured=False)
    gateway = on.gateway(upstream.url)
    warm_up(on, [gateway])
    fastest = put_load(gateway, Load(on.effort.seconds(3.0), CONNECTIONS), on.directory).rate

    def half_load(url: str) -> Callable[[], Latencies]:
        return lambda: arrivals(url, fastest / 2, on.effort.seconds(1.5), CONNECTIONS)

    waited = waited_s(family(gateway.pid))
    started = time.monotonic()
    samples = interleaved(on.effort.rounds * 3, {"direct": half_load(upstream.url), "through": half_load(gateway.url)})
    direct, through = samples["direct"], samples["through"]
    waited = (waited_s(family(gateway.pid)) - waited) / (time.monotonic() - started)
    rate = middle(through, lambda one: one.rate)
    return Outcome(
        [
            figure(
                "latency added at half load, p99",
                "ms",
                median(ours.p99_ms - bare.p99_ms for bare, ours in zip(direct, through, strict=True)),
                budget=Budget("ours", at_most=1.0),
                note=f"calls at random moments, {rate:,.0f} req/s of at most {fastest:,.0f}; "
                f"p99 through the gateway minus p99 of the upstream alone; for {waited:.1%} of the time the gateway "
                "waited for a core that others had",
                extra={
                    "p50": median(ours.p50_ms - bare.p50_ms for bare, ours in zip(direct, through, strict=True)),
                    "upstream p99": middle(direct, lambda one: one.p99_ms),
                    "gateway p99": middle(through, lambda one: one.p99_ms),
                    **_own_account(gateway),
                },
            )
        ]
    )


def _own_account(gateway: Gateway) -> dict[str, float]:
    """What the gateway itself says of its overhead, if it does."""
    with Client(gateway.sidecar.url) as client:
        return metric_lines(client.get("/metrics").decode(), OVERHEAD)
