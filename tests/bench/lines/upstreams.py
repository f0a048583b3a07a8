"""CPU per call where a model has four upstreams and limits, beside one; and while the models file changes."""

import contextlib
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import Gateway, Ground, interleaved, middle
from tests.bench.load import MODEL, run_of, sample, timed, warm_up
from tests.bench.yardsticks import nginx

ONE, FOUR, LIMITED = "one upstream", "four upstreams", "four upstreams and limits"
FILE = "models.toml"
CHANGED_S = (0.05, 0.1)
BAD = "[m]\nupstream = 'nowhere'\n"


def measure(on: Ground) -> Outcome:
    urls = [on.nginx(f"upstream {n}", nginx.FIXED_UPSTREAM, measured=False).url for n in range(4)]
    tables = {ONE: table(urls[:1]), FOUR: table(urls), LIMITED: table(urls, limit=1000)}
    directories = {name: on.new_directory() for name in tables}
    for name, text in tables.items():
        (directories[name] / FILE).write_text(text)
    gateways = {
        name: on.gateway(urls[0], INVOKER_MODELS_FILE=str(directory / FILE)) for name, directory in directories.items()
    }
    warm_up(on, list(gateways.values()))
    load = timed(on.effort, 3.0)
    runs = interleaved(
        on.effort.rounds, {name: run_of(gateway, load, on.directory) for name, gateway in gateways.items()}
    )
    costs = {name: middle(samples, lambda run: run.cpu_us) for name, samples in runs.items()}
    with changing(gateways[LIMITED], directories[LIMITED] / FILE, urls):
        changed = sample(gateways[LIMITED], load, on.directory)
    return Outcome(
        [
            figure(
                f"CPU per request, {name}",
                "µs",
                costs[name],
                yardstick=(ONE, costs[ONE]),
                budget=Budget("ratio", at_most=1.15),
            )
            for name in (FOUR, LIMITED)
        ]
        + [
            figure(
                "CPU per request while the models file changes each 50 to 100 ms",
                "µs",
                changed.cpu_us,
                yardstick=(LIMITED, costs[LIMITED]),
                note=f"{changed.answers.requests:,} calls, {changed.answers.rate:,.0f} per second, no one failed",
            )
        ]
    )


def table(urls: list[str], *, limit: int | None = None, weight: int = 1) -> str:
    """Of the load's model; each of its upstreams has the limit, too."""
    whole = f"limits = {{ max_in_flight = {limit} }}\n" if limit else ""
    each = f"max_in_flight = {limit}\n" if limit else ""
    upstreams = (f"[[{MODEL}.upstreams]]\nurl = '{url}/invoke'\nweight = {weight}\n{each}" for url in urls)
    return f"[{MODEL}]\n{whole}{''.join(upstreams)}"


@contextlib.contextmanager
def changing(gateway: Gateway, path: Path, urls: list[str]) -> Iterator[None]:
    """Weights and upstreams are others all the time, and one time in four the file is wrong. It is read at once."""
    stopping, die = threading.Event(), random.Random(1)
    process = gateway.system.processes[-1]

    def change() -> None:
        while not stopping.wait(die.uniform(*CHANGED_S)):
            some = die.sample(urls, die.randint(1, len(urls)))
            text = BAD if die.random() < 0.25 else table(some, limit=1000, weight=die.randint(1, 9))
            new = path.with_suffix(".new")
            new.write_text(text)
            new.replace(path)
            process.signal(signal.SIGHUP)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
