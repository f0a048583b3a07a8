"""What Prometheus is told of upstreams: attempts that add up with those of records, and counters that never go down."""

import os
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import System, eventually, get, system
from tests.system.test_upstreams import calling, mocks, rows, several, write

ATTEMPTS, HEALTHY = "invoker_upstream_attempts_total", "invoker_upstream_healthy"
Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def scrape(started: System) -> dict[Sample, float]:
    with urllib.request.urlopen(f"{started.sidecar_url}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counters(samples: dict[Sample, float]) -> dict[Sample, float]:
    """Of gateway and models: none may ever go down."""
    ends = ("_total", "_bucket", "_count", "_sum")
    return {
        (name, labels): value
        for (name, labels), value in samples.items()
        if name.startswith(("invoker_", "model_")) and name.endswith(ends)
    }


def by_label(samples: dict[Sample, float], name: str, label: str) -> dict[str, float]:
    """Sums of a family, without those that are 0 but for gauges."""
    found: Counter[str] = Counter()
    for (of_name, labels), value in samples.items():
        if of_name == name:
            found[dict(labels)[label]] += value  # type: ignore[assignment]
    return {**found}


def healthy(started: System, names: list[str]) -> list[float | None]:
    found = by_label(scrape(started), HEALTHY, "upstream")
    return [found.get(name) for name in names]


def attempts_of_records(started: System, count: int) -> int:
    found = rows(started, count)
    return sum(row["attempts"] for row in found)


def went_down(before: dict[Sample, float], after: dict[Sample, float]) -> list[Sample]:
    return [sample for sample, value in counters(before).items() if after.get(sample, 0.0) < value]


def test_attempts_of_upstreams_are_those_of_records(started: System, tmp_path: Path) -> None:
    """With a model server that is killed; and after a worker and the sidecar were, and the file was changed."""
    (first, _), urls = mocks(started, 2)
    names = [url.removeprefix("http://").removesuffix("/invoke") for url in urls]
    sidecar = started.start_sidecar()
    path = tmp_path / "models.toml"
    path.write_text(several(urls))
    gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS="2", INVOKER_UPSTREAM_URL="")
    with calling(started) as callers:
        callers.more(100)
        first.kill_all()
        eventually(lambda: healthy(started, names), lambda found: found == [0.0, 1.0], 60)
    tried = attempts_of_records(started, len(callers.answers))
    told = eventually(
        lambda: scrape(started), lambda found: sum(by_label(found, ATTEMPTS, "upstream").values()) == tried
    )
    outcomes = by_label(told, ATTEMPTS, "outcome")
    assert outcomes["success"] == sum(status == 200 for status, _ in callers.answers)
    assert outcomes["connect"] > 0
    assert outcomes.keys() >= {"busy", "timeout", "usage_refused"}  # at 0, from the start
    assert by_label(told, "invoker_upstream_latency_seconds_count", "upstream")[names[1]] >= outcomes["success"] / 2
    assert by_label(told, "invoker_retries_total", "reason")["connect"] == tried - len(callers.answers)
    assert by_label(told, "invoker_upstream_ejections_total", "upstream")[names[0]] >= 2
    assert set(by_label(told, "invoker_upstream_outstanding", "upstream").values()) == {0.0}

    os.kill(gateway.event("worker.listening")["pid"], signal.SIGKILL)
    gateway.event("worker.listening", 3)
    sidecar.kill_all()
    started.start_sidecar()
    write(path, several(urls[1:]))
    gateway.event("models.loaded")
    with calling(started) as again:
        again.more(50)
    tried = attempts_of_records(started, len(callers.answers) + len(again.answers))
    later = eventually(
        lambda: scrape(started), lambda found: sum(by_label(found, ATTEMPTS, "upstream").values()) == tried
    )
    assert went_down(told, later) == []
    eventually(lambda: healthy(started, names), lambda found: found == [None, 1.0])
    assert get(f"{started.sidecar_url}/metrics/reconcile")["consistent"] is True


def test_a_models_file_that_is_refused_is_told(started: System, tmp_path: Path) -> None:
    """Until it is mended; and when the one in use was read."""
    _, urls = mocks(started, 1)
    started.start_sidecar()
    path = tmp_path / "models.toml"
    path.write_text(several(urls))
    gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS="2", INVOKER_UPSTREAM_URL="")

    def told() -> tuple[float, ...]:
        samples = scrape(started)
        names = ("last_reload_successful", "models", "upstreams", "last_reload_success_timestamp_seconds")
        return tuple(samples.get((f"invoker_config_{name}", frozenset()), -1.0) for name in names)

    _, _, upstreams, loaded = before = eventually(told, lambda found: found[:2] == (1.0, 1.0))
    write(path, "[m]\nupstream = 'nowhere'")
    gateway.event("models.refused")
    assert eventually(told, lambda found: found[0] == 0.0)[1:] == before[1:]
    write(path, several(urls) + f"[n]\nupstream = '{urls[0]}'\n")
    gateway.event("models.loaded")
    *_, newly = eventually(told, lambda found: found[:3] == (1.0, 2.0, upstreams + 1))
    assert newly > loaded


def test_what_another_model_served_is_what_its_records_say(started: System, tmp_path: Path) -> None:
    """By the model that was asked for; both models' attempts are those of the records."""
    _, urls = mocks(started, 1)
    started.start_sidecar()
    path = tmp_path / "models.toml"
    path.write_text(f"[m]\nupstream = 'http://127.0.0.1:1/'\nfallback = ['n']\n[n]\nupstream = '{urls[0]}'\n")
    started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS="2", INVOKER_UPSTREAM_URL="")
    assert [started.invoke(model_id)[0] for model_id in ("m", "m", "n", "m")] == [200] * 4
    started.settled("n", 4)
    found = started.history("limit=10")["history"]
    assert [row["fallback_from"] for row in found].count("m") == 3
    told = eventually(
        lambda: scrape(started), lambda found: by_label(found, ATTEMPTS, "outcome").get("success") == 4, 20
    )
    assert by_label(told, "model_fallbacks_total", "model_id") == {"m": 3}
    assert by_label(told, ATTEMPTS, "outcome")["connect"] == 3
    assert sum(by_label(told, ATTEMPTS, "outcome").values()) == sum(row["attempts"] for row in found)
    assert get(f"{started.sidecar_url}/metrics/reconcile")["consistent"] is True
