"""From a reply to its row in the history, while others call too."""

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles

from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import Gateway, Ground
from tests.bench.http import Client
from tests.bench.load import Answers, Load, put_load, warm_up
from tests.bench.yardsticks import nginx

RATE = 5_000
CONNECTIONS = 64
PROBES, LEAST_PROBES = 200, 2
"""The least that have a quantile, however long each takes."""
POLL_S = 0.001
TIMEOUT_S = 5.0


def measure(on: Ground) -> Outcome:
    upstream = on.nginx("upstream", nginx.FIXED_UPSTREAM, measured=False).url
    gateway = on.gateway(upstream)
    warm_up(on, [gateway])
    waits_ms, background = _probe_under_load(on, gateway)
    p99_ms = quantiles(waits_ms, n=100)[98]
    reached = background.rate >= 0.9 * RATE
    note = f"{len(waits_ms)} probes beside {background.rate:,.0f} req/s of other calls"
    return Outcome(
        [
            figure(
                "reply → row visible in history, p99",
                "ms",
                p99_ms,
                budget=Budget("ours", at_most=100),
                note=note if reached else f"{note}: this machine sustains no more",
                extra={"p50": median(waits_ms), "max": max(waits_ms), "background req/s": background.rate},
            )
        ]
    )


def _probe_under_load(on: Ground, gateway: Gateway) -> tuple[list[float], Answers]:
    """What each probe waited, in ms, and the load that ran meanwhile: a little longer than the probes."""
    delay_ms = round(CONNECTIONS / RATE * 1000) - 1
    load = Load(on.effort.seconds(10.0), connections=CONNECTIONS, delay_ms=delay_ms)
    deadline = time.monotonic() + load.seconds - 0.3
    waits_ms: list[float] = []
    with ThreadPoolExecutor(1) as pool, Client(gateway.url) as caller, Client(gateway.sidecar.url) as reader:
        background = pool.submit(put_load, gateway, load, on.directory)
        time.sleep(0.2)
        while len(waits_ms) < LEAST_PROBES or (len(waits_ms) < PROBES and time.monotonic() < deadline):
            waits_ms.append(_probe(caller, reader, f"probe-{len(waits_ms)}"))
            time.sleep(0.01)
        return waits_ms, background.result()


def _probe(caller: Client, reader: Client, model_id: str) -> float:
    """ms from the reply to a call of this model until the history has its row."""
    caller.post("/invoke", b'{"worklet_input":{"model_id":"%b","input":[1]}}' % model_id.encode())
    replied = time.perf_counter()
    while not reader.json(f"/metrics/history?limit=1&model_id={model_id}")["history"]:
        if time.perf_counter() - replied > TIMEOUT_S:
            return TIMEOUT_S * 1000
        time.sleep(POLL_S)
    return (time.perf_counter() - replied) * 1000
