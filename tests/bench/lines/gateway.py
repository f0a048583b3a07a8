"""Requests per CPU-second of the gateway, beside a bare proxy, the specified design and nginx."""

from tests.bench.figures import Budget, Figure, Outcome, figure
from tests.bench.ground import Ground, Server, interleaved, middle
from tests.bench.load import SMALL_OUTPUT, Load, Sample, run_of, sample, timed, warm_up
from tests.bench.yardsticks import nginx

UNIT = "req/CPU-s"
OURS, BARE, SPECIFIED, NGINX = "gateway", "bare aiohttp proxy", "specification taken literally", "nginx proxy_pass"


def measure(on: Ground) -> Outcome:
    upstream = on.nginx("upstream", nginx.FIXED_UPSTREAM, measured=False).url
    gateway = on.gateway(upstream)
    servers: dict[str, Server] = {
        BARE: on.python(BARE, "tests.bench.yardsticks.bare_proxy", upstream),
        OURS: gateway,
        NGINX: on.nginx(NGINX, nginx.proxy(upstream), measured=True),
        SPECIFIED: on.python(SPECIFIED, "tests.bench.yardsticks.specification", upstream),
    }
    warm_up(on, list(servers.values()))
    checked = sample(gateway, Load(1.0, expected=(SMALL_OUTPUT, '"success":true')), on.directory).answers
    load = timed(on.effort, 3.0)
    samples = interleaved(
        on.effort.rounds, {name: run_of(server, load, on.directory) for name, server in servers.items()}
    )
    return Outcome(_figures(samples, checked.requests))


def _figures(samples: dict[str, list[Sample]], checked: int) -> list[Figure]:
    rates = {name: middle(runs, lambda run: run.per_cpu_s) for name, runs in samples.items()}
    costs = {f"{name}, CPU µs": middle(runs, lambda run: run.cpu_us) for name, runs in samples.items()}
    walls = {f"{name}, req/s": middle(runs, lambda run: run.answers.rate) for name, runs in samples.items()}
    budgets = {BARE: Budget("ratio", at_least=2.5), NGINX: Budget("ratio", at_least=0.5), SPECIFIED: None}
    figures = [
        figure("gateway, recording", UNIT, rates[OURS], yardstick=(name, rates[name]), budget=budget)
        for name, budget in budgets.items()
    ]
    ours = samples[OURS]
    note = f"{checked:,} replies read and compared, none wrong; the sidecar counted each request of every run"
    cost = costs[f"{OURS}, CPU µs"]
    figures.append(figure("gateway, CPU per request", "µs", cost, note=note, extra={**costs, **walls}))
    figures.append(figure("sidecar, CPU per record of that load", "µs", middle(ours, lambda run: run.sidecar_us)))
    return figures
