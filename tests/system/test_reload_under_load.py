"""The models file changes again and again while as many calls come as the machine can make."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.processes import ROOT, Process, System, eventually, get, system

WORKERS = 3
BAD = ("[m", "[m]\nupstream = 'nowhere'\n", "[m]\nretries = 99\n", "\xff")


def good(urls: list[str], die: random.Random) -> str:
    """Other weights, timeouts, limits and attempts, one endpoint or two; so too of a pattern that comes and goes."""
    chosen = die.sample(urls, die.randint(1, len(urls)))
    tables = [f"[m]\ntimeout = {die.randint(20, 60)}\nretries = {die.randint(0, 3)}\n"]
    tables += [f"limits = {{ max_in_flight = {die.randint(1000, 2000)} }}\n"] if die.random() < 0.5 else []
    tables += [f"[[m.upstreams]]\nurl = '{url}'\nweight = {die.randint(1, 9)}\n" for url in chosen]
    tables += [f"['n*']\nupstream = '{die.choice(urls)}'\n"] if die.random() < 0.5 else []
    return "".join(tables)


@contextlib.contextmanager
def changing(gateway: Process, path: Path, urls: list[str]) -> Iterator[None]:
    """As long as this lasts, each 50 to 100 ms, and the gateway is told to look."""
    stopping, die = threading.Event(), random.Random(1)

    def change() -> None:
        while not stopping.wait(die.uniform(0.05, 0.1)):
            text = die.choice(BAD) if die.random() < 0.25 else good(urls, die)
            new = path.with_suffix(".new")
            new.write_text(text, encoding="latin-1")
            new.replace(path)
            gateway.signal(signal.SIGHUP)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def load(started: System) -> dict[str, object]:
    """At most so many at one time; what the machine can't make is not sent."""
    command = (sys.executable, "-m", "deploy.load_test", "--url", started.gateway_url, "--json", "--models", "m=3,n1=1")
    amount = ("--rate", "2000", "--duration", "5", "--max-in-flight", "100")
    done = subprocess.run([*command, *amount], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_no_change_of_the_models_file_drops_a_call(tmp_path: Path) -> None:
    """None fails, none is lost, none is counted twice, by any worker, whether the file is right or wrong; and the last
    one is used in the end."""
    with system(tmp_path) as started:
        urls = []
        for _ in range(2):
            started.start_mock()
            urls.append(started.upstream)
        started.start_sidecar()
        path = tmp_path / "models.toml"
        path.write_text(f"[m]\nupstream = '{urls[0]}'\n")
        gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS=str(WORKERS))
        with changing(gateway, path, urls):
            found = load(started)
        print(f"{found['rate_sent']} calls per second")
        assert found["sent"] == found["successful"]
        assert (found["agree"], found["statuses"]) == (True, {"200": found["sent"]})
        assert len(gateway.events("models.loaded")) > 5
        assert len(gateway.events("models.refused")) > 1
        path.write_text(f"[m]\nupstream = '{urls[1]}'\nlimits = {{ max_in_flight = 7 }}\n")
        gateway.signal(signal.SIGHUP)
        told = eventually(
            lambda: get(f"{started.gateway_url}/upstreams"),
            lambda told: [each["url"] for each in told["upstreams"] if each["model"] == "m"] == [urls[1]],
        )
        assert told["workers"] == WORKERS
        assert gateway.stop() == 0
