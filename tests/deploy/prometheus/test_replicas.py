"""Several gateway and sidecar pairs behind one Prometheus: what is added up is right."""

from pathlib import Path

from tests.deploy.prometheus.monitoring import Monitoring, monitoring
from tests.processes import System, eventually, system

MODELS = '["m"]\nupstream = "%s"\n'
FIGURES = {
    "successful_invocations": 'sum(model_invocations_total{status="success"})',
    "failed_invocations": 'sum(model_invocations_total{status="failure"})',
    "total_invocations": "sum(model_invocation_latency_seconds_count)",
}


def start(pair: System, failure_rate: float) -> None:
    """Mock server, sidecar and gateway; the gateway knows its model, so that it counts from 0."""
    pair.directory.mkdir()
    pair.start_mock(MOCK_FAILURE_RATE=str(failure_rate))
    pair.start_sidecar()
    models = pair.directory / "models.toml"
    models.write_text(MODELS % pair.upstream)
    pair.start_gateway(INVOKER_MODELS_FILE=str(models))


def call(pair: System, count: int) -> None:
    """So many more calls, recorded."""
    before = pair.stats("m").get("total_invocations", 0)
    for _ in range(count):
        pair.invoke("m")
    pair.settled("m", before + count)


def at_rest(watching: Monitoring, pairs: list[System]) -> dict[str, float]:
    """The sums over both pairs, once Prometheus has the same as their statistics."""

    def both() -> tuple[dict[str, float], dict[str, float]]:
        statistics = [pair.stats("m") for pair in pairs]
        sums = {name: sum(stats[name] for stats in statistics) for name in FIGURES}
        return sums, {name: watching.query(expression)[""] for name, expression in FIGURES.items()}

    sums, _ = eventually(both, lambda two: two[0] == two[1], 20)
    return dict(sums)


def test_two_pairs_are_added_up(tmp_path: Path) -> None:
    """Sums are the sums of both statistics. The success rate comes from counters: a mean of rates would be wrong."""
    with system(tmp_path / "one") as one, system(tmp_path / "two") as two:
        start(one, 0.0)
        start(two, 1.0)
        with monitoring(tmp_path, [one.sidecar_url, two.sidecar_url]) as watching:
            watching.wait_until_up(4)
            eventually(lambda: watching.query("count(model_invocations_total)"), {"": 4.0}.__eq__, 20)
            call(one, 180)
            call(two, 20)
            expected = {"successful_invocations": 180, "failed_invocations": 20, "total_invocations": 200}
            assert at_rest(watching, [one, two]) == expected
            assert watching.query(success_rate("model_invocations_total")) == {"": 90.0}
            assert watching.query("avg(model_success_rate)") == {"": 50.0}

            # Increases are extrapolated by up to a scrape: with more of them about right, where the mean is far off.
            rate = f"round({success_rate('increase(model_invocations_total[10m])')}, 10)"
            eventually(lambda: watching.query(rate), {"": 90.0}.__eq__, 20)
            failures = "model:model_invocation_failures_per_model_invocations:ratio_rate1h"
            eventually(lambda: watching.query(f"round({failures}, 0.1)"), {'model_id="m"': 0.1}.__eq__, 20)

            two.processes[1].kill_all()
            two.start_sidecar()
            call(one, 45)
            assert at_rest(watching, [one, two]) == {
                **expected,
                "successful_invocations": 225,
                "total_invocations": 245,
            }


def success_rate(counter: str) -> str:
    """Per cent, from counters."""
    label = '{status="success"}'
    success = counter.replace("total", f"total{label}", 1)
    return f"100 * sum({success}) / sum({counter})"
