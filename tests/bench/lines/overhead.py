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
    account = _own_account(gateway)
    return Outcome(
        [
            figure(
                f"{OVERHEAD} at half load, p99 at most",
                "ms",
                _p99_ms(account),
                budget=Budget("ours", at_most=1.0),
                note="the gateway's own account: all of a call but the wait for the upstream and for its turn",
                extra=account,
            ),
            figure(
                "latency added at half load as callers see it, p99",
                "ms",
                median(ours.p99_ms - bare.p99_ms for bare, ours in zip(direct, through, strict=True)),
                budget=Budget("ours", at_most=1.0),
                note=f"calls at random moments, {rate:,.0f} req/s of at most {fastest:,.0f}; "
                f"p99 through the gateway minus p99 of the upstream alone; for {waited:.1%} of the time the gateway "
                "waited for a core that others had; the sidecar, the upstream and the callers share the other core",
                extra={
                    "p50": median(ours.p50_ms - bare.p50_ms for bare, ours in zip(direct, through, strict=True)),
                    "upstream p99": middle(direct, lambda one: one.p99_ms),
                    "gateway p99": middle(through, lambda one: one.p99_ms),
                },
            ),
        ]
    )


def _own_account(gateway: Gateway) -> dict[str, float]:
    """What the gateway itself says of its overhead."""
    with Client(gateway.sidecar.url) as client:
        return metric_lines(client.get("/metrics").decode(), OVERHEAD)


def _p99_ms(account: dict[str, float]) -> float:
    """The smallest bound that 99 % of the calls did not exceed."""
    count = account[f"{OVERHEAD}_count"]
    bounds = {
        float(name.partition('le="')[2].rstrip('"}')): below for name, below in account.items() if "_bucket" in name
    }
    return 1000 * min(bound for bound, below in bounds.items() if below >= 0.99 * count)
