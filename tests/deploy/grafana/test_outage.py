"""The first screens in good and bad times: what Grafana's own library shows of a real Prometheus and real processes."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy.grafana.dashboards import NAMES, Json, annotations, panels
from tests.deploy.grafana.filled import fill_expression
from tests.deploy.grafana.library import figures
from tests.deploy.prometheus.monitoring import Monitoring, monitoring
from tests.processes import System, eventually, get, system

GOOD, BROKEN = "good", "broken"
RANGE_S = 600
Shown = dict[str, list[tuple[str, str]]]
OF_MODELS = (
    "Worst Success Rate",
    "Worst 95th Percentile",
    "Requests per Minute",
    "Active",
    "Invocations",
    "Failures",
    "Success Rate",
    "95th Percentile",
)


@contextmanager
def traffic(started: System) -> Iterator[None]:
    """Twenty good calls for one that fails."""
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            for model_id in (*[GOOD] * 20, BROKEN):
                started.invoke(model_id)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def stats_of(name: str) -> list[Json]:
    return [panel for panel in panels(name) if panel["type"] == "stat"]


def shown(watching: Monitoring, name: str) -> Shown:
    """Text and colour of the figures of each stat of a dashboard, for the last ten minutes."""
    stats = stats_of(name)
    asked = [(panel, [one for target in panel["targets"] for one in series(watching, target)]) for panel in stats]
    return dict(zip([panel["title"] for panel in stats], figures(asked), strict=True))


def series(watching: Monitoring, target: Json) -> Sequence[tuple[str, float | None]]:
    """Legend and value; None is NaN."""
    result = watching.ask("query", query=fill_expression(target["expr"], RANGE_S))["result"]
    found = [(legend(target, one["metric"]), float(one["value"][1])) for one in result]
    return [(name, None if math.isnan(value) else value) for name, value in found]


def legend(target: Json, labels: dict[str, Any]) -> str:
    text: str = target["legendFormat"]
    return text.replace("{{model_id}}", labels.get("model_id", ""))


def before_the_first_call(watching: Monitoring) -> None:
    """Nothing is good or bad about models that nobody has called; that nothing fires is told by rules that run."""
    eventually(lambda: watching.query("rules:evaluation:timestamp_seconds"), bool, 30)
    models = eventually(lambda: shown(watching, NAMES[0]), lambda now: now["Alerts Firing"][0][1] == "green", 30)
    assert {title: models[title] for title in OF_MODELS} == {title: [("No traffic", "text")] for title in OF_MODELS}
    assert models["Sidecars Down"] == [("0", "green")]
    assert models["Alerts Firing"] == [("0", "green"), ("0", "green")]


def one_model_fails_always(started: System, watching: Monitoring) -> None:
    """All together look well; the worst is at 0 %, and red, and so are the pages."""
    with traffic(started):
        eventually(watching.firing, lambda names: "ModelErrorBudgetBurnFast" in names, 60)
        models = eventually(lambda: shown(watching, NAMES[0]), lambda found: found["Success Rate"][0][1] != "text", 30)
    assert models["Success Rate"][0][1] == "green"
    assert models["Worst Success Rate"] == [("0.00%", "red")]
    assert models["Alerts Firing"][0][1] == "red"


def counts_are_those_of_the_statistics(started: System, watching: Monitoring) -> None:
    """To the last call, also of models that Prometheus first saw with some."""

    def both() -> tuple[str, str]:
        stats = get(f"{started.sidecar_url}/metrics/stats")["stats"].values()
        return f"{sum(one['total_invocations'] for one in stats):,}", shown(watching, NAMES[0])["Invocations"][0][0]

    eventually(both, lambda two: two[0] == two[1], 30)


def a_sidecar_is_down(started: System, watching: Monitoring) -> None:
    """Both first screens say so, and nothing on them looks well, for want of news; the totals stay."""
    started.processes[1].kill_all()
    eventually(watching.firing, lambda names: "SidecarDown" in names, 60)
    for name in NAMES:
        now = shown(watching, name)
        assert now.pop("Sidecars Down") == [("1", "red")]
        assert now.pop("Alerts Firing")[0][1] == "red"
        assert now == {title: [("Not reported", "text")] for title in now}
    (bars,) = [panel for panel in panels(NAMES[0]) if panel["title"] == "Total Invocations per Model"]
    assert {model for model, _ in series(watching, bars["targets"][0])} == {GOOD, BROKEN}


def a_sidecar_has_started_again(started: System, watching: Monitoring) -> None:
    """It is marked where its process began, and no call is counted anew."""
    started.start_sidecar()
    counts_are_those_of_the_statistics(started, watching)
    (restarts,) = [one for one in annotations(NAMES[1]) if one["name"] == "Restarts"]
    expression = fill_expression(restarts["target"]["expr"], RANGE_S)
    (began,) = eventually(lambda: watching.ask("query", query=expression)["result"], bool, 20)
    assert abs(float(began["value"][1]) - 1000 * float(began["value"][0])) < 60_000


def test_the_first_screens_tell_the_truth(tmp_path: Path) -> None:
    """Before the first call, with a model that always fails, without the sidecar, and after its start. A minute of the
    rules is a second."""
    with system(tmp_path) as started:
        started.start_mock(MOCK_MODELS=f"{BROKEN}=failure=1")
        started.start_sidecar()
        started.start_gateway()
        with monitoring(tmp_path, [started.sidecar_url]) as watching:
            watching.wait_until_up(3)
            before_the_first_call(watching)
            one_model_fails_always(started, watching)
            counts_are_those_of_the_statistics(started, watching)
            a_sidecar_is_down(started, watching)
            a_sidecar_has_started_again(started, watching)
