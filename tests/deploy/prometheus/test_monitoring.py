"""Real Prometheus and Alertmanager on a real system: figures that agree, and alerts that arrive."""

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from metrics_sidecar.intake.families import COUNTED, MAX_VALUES, MEASURED, SPREADS
from shared.record import ErrorType
from tests.deploy.prometheus.monitoring import Monitoring, monitoring
from tests.deploy.prometheus.rules import DEPLOY, alert_rules
from tests.processes import System, eventually, get_text, system
from tests.tools import require_tools

MODELS = "good bad worse slow"
BEHAVIOUR = "bad=failure=0.5 worse=failure=1 slow=fixed:2200ms"
CHAT = "chat"
STREAM = {"model": CHAT, "stream": True, "messages": [{"role": "user", "content": "one two three"}]}
QUEUED = """
["chat*"]
protocol = "openai"
upstream = "{url}"
limits = {{ max_in_flight = 8, queue = 8 }}
"""
BUILT_IN = {"up", "ALERTS"}

FIGURES = """
    sum by (model_id, status) (model_invocations_total)
    or label_replace(sum by (model_id) (model_invocation_latency_seconds_count), "the", "count", "", "")
    or label_replace(round(1000 * sum by (model_id) (model_invocation_latency_seconds_sum)), "the", "sum", "", "")
    or label_replace(sum by (model_id) (model_success_rate), "the", "rate", "", "")
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, Monitoring]]:
    """Mock server, sidecar, gateway, Prometheus and Alertmanager."""
    directory = tmp_path_factory.mktemp("stack")
    with system(directory) as started:
        mock = started.start_mock(MOCK_MODELS=BEHAVIOUR).event("mock.listening")["url"]
        started.start_sidecar()
        models = directory / "models.toml"
        models.write_text(QUEUED.format(url=f"{mock}/v1"))
        started.start_gateway(INVOKER_MODELS_FILE=str(models))
        with monitoring(directory, [started.sidecar_url]) as watching:
            watching.wait_until_up(3)
            yield started, watching


@contextmanager
def traffic(started: System) -> Iterator[None]:
    """Calls of all models, one after the other per model."""
    stop = threading.Event()

    def call(model_id: str) -> None:
        while not stop.wait(0.03):
            started.invoke(model_id)

    threads = [threading.Thread(target=call, args=(model_id,)) for model_id in MODELS.split()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_alerts_arrive_grouped_and_inhibited(stack: tuple[System, Monitoring]) -> None:
    """Failing models page together in one notification, which silences their tickets; a slow model has its ticket."""
    started, watching = stack
    received = watching.webhook
    with traffic(started):
        eventually(lambda: received.alerts("ModelErrorBudgetBurnFast"), {"bad", "worse"}.__eq__, 30)
        eventually(lambda: received.alerts("ModelHighLatency"), {"slow"}.__eq__, 30)
        silenced = eventually(
            lambda: watching.alerts(alertname="ModelHighErrorRate"), lambda found: len(found) == 2, 30
        )
    assert {alert["labels"]["model_id"] for alert in silenced if alert["status"]["inhibitedBy"]} == {"bad", "worse"}
    assert received.alerts("ModelHighErrorRate") == set()
    assert received.alerts("ModelErrorBudgetBurnSlow") == set()
    pages = [n for n in received.notifications if n["groupLabels"] == {"alertname": "ModelErrorBudgetBurnFast"}]
    assert {"bad", "worse"} in [{alert["labels"]["model_id"] for alert in page["alerts"]} for page in pages]
    alert = pages[-1]["alerts"][0]
    assert set(alert["annotations"]) == {"summary", "description", "runbook", "dashboard"}


def test_prometheus_agrees_with_the_statistics(stack: tuple[System, Monitoring]) -> None:
    """At rest, each counter, count and sum in Prometheus is what `/metrics/stats` says."""
    started, watching = stack
    with traffic(started):
        started.settled("slow", 2)
    scraped, _ = eventually(
        lambda: (watching.query(FIGURES), figures_of_statistics(started)), lambda both: both[0] == both[1], 20
    )
    assert len(scraped) == 5 * len(MODELS.split())


def test_rules_name_what_there_is(stack: tuple[System, Monitoring]) -> None:
    """Each metric in a rule is recorded, or exposed by what Prometheus scrapes; and no rule fails."""
    started, watching = stack
    texts = [get_text(f"{url}/metrics") for url in (started.sidecar_url, watching.prometheus, watching.alertmanager)]
    families = re.findall(r"^# TYPE (\S+) (\S+)$", "\n".join(texts), re.MULTILINE)
    exposed = {name + suffix for name, kind in families for suffix in suffixes(kind)}
    rules = [rule for group in watching.ask("rules")["groups"] for rule in group["rules"]]
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    named = {name for rule in rules for name in metrics_in(watching.ask("parse_query", query=rule["query"]))}
    assert {"model_invocations_total", "up", "invoker_records_waiting"} - named == set()
    assert named - exposed - recorded - BUILT_IN == set()
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


def test_the_sample_limit_lies_above_the_cap_on_models(stack: tuple[System, Monitoring]) -> None:
    """As many models as may have a label, each with streams, a queue and every type of error, are scraped."""
    started, _ = stack
    url, headers = f"{started.gateway_url}/v1/chat/completions", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(STREAM).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert b"[DONE]" in answer.read()
    started.settled(CHAT, 1)
    scraped = get_text(f"{started.sidecar_url}/metrics", Accept="application/openmetrics-text; version=1.0.0")
    lines = [line for line in scraped.splitlines() if not line.startswith("#")]
    one = [line for line in lines if f'model_id="{CHAT}"' in line and "model_invocation_errors_" not in line]
    families = set(re.findall(r"^# TYPE (model_\S+) ", scraped, re.MULTILINE))
    families -= {"model_invocation_errors", "model_fallbacks"}
    assert [family for family in families if not any(line.startswith(family) for line in one)] == []
    own = [line for line in lines if "model_id=" not in line]
    assert own != []
    models = 2000 + 1  # SIDECAR_MAX_MODELS, and __overflow__
    config = (DEPLOY / "prometheus/prometheus.yml").read_text()
    limit = int(re.findall(r"sample_limit: (\d+)", config)[0])
    assert any("_created" in line for line in one)
    samples = len(one) + 2 * len(ErrorType)
    counted = sum(len(family.values) or 1 for family in COUNTED.values())
    by_label = counted + sum(len(family.bounds_s) + 3 for family in SPREADS.values()) + len(MEASURED)
    assert samples * models + len(own) + by_label * (MAX_VALUES + 1) < limit
    assert f": {samples} samples" in config
    assert f"by {samples} for each" in (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")


def test_what_a_new_model_was_called_before_its_first_scrape_is_no_secret(stack: tuple[System, Monitoring]) -> None:
    """Its counters tell when they were zero: fifty failures within one scrape are an increase of fifty."""
    started, watching = stack
    for _ in range(50):
        started.invoke("worse-from-the-start")
    series = 'model_invocations_total{model_id="worse-from-the-start"}[1h]'
    seen = f"sum(max_over_time({series}) - min_over_time({series}))"  # `increase` would extrapolate
    eventually(lambda: [*watching.query(seen).values()], [50.0].__eq__, 30)


def test_the_commands_of_the_runbook_work(stack: tuple[System, Monitoring]) -> None:
    """Each `curl` is answered with success."""
    require_tools("bash", "curl")
    started, watching = stack
    ports = {
        8000: started.gateway_url,
        8002: started.sidecar_url,
        9090: watching.prometheus,
        9093: watching.alertmanager,
    }
    blocks = re.findall(r"```bash\n(.*?)```", (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    curls = [line.partition(" | ")[0] for line in lines if line.startswith("curl ")]
    assert len(curls) >= len(blocks) > 10
    for port, url in ports.items():
        curls = [curl.replace(f"localhost:{port}", url) for curl in curls]
    commands = [f"MODEL=bad UPSTREAM=bad; {curl} --fail -o /dev/null" for curl in curls]
    failed = [line for line in commands if subprocess.run(["bash", "-c", line], check=False).returncode != 0]
    assert failed == []


def test_a_dead_sidecar_is_one_alert(stack: tuple[System, Monitoring]) -> None:
    """It pages; that its models seem not to be called is silenced."""
    started, watching = stack
    with traffic(started):
        eventually(
            lambda: watching.query("model:model_invocations:max1d_rate5m"),
            lambda found: len(found) >= len(MODELS.split()),
            20,
        )
        # It may have fired before, while nothing was called between two tests.
        eventually(lambda: watching.alerts(alertname="ModelNoActivity"), [].__eq__, 30)
        before = len(watching.webhook.notifications)
        started.processes[1].kill_all()
        eventually(lambda: watching.webhook.alerts("SidecarDown"), {""}.__eq__, 20)
    silent = eventually(
        lambda: watching.alerts(alertname="ModelNoActivity"),
        lambda found: [bool(alert["status"]["inhibitedBy"]) for alert in found] == [True] * 4,
        30,
    )
    assert {alert["labels"]["model_id"] for alert in silent} == set(MODELS.split())
    assert watching.webhook.alerts("ModelNoActivity", before) == set()
    assert "SidecarDown" in {rule["alert"] for rule in alert_rules()} & watching.firing()


def figures_of_statistics(started: System) -> dict[str, float]:
    """What `FIGURES` must answer."""
    found: dict[str, float] = {}
    for model_id in MODELS.split():
        stats = started.stats(model_id)
        found |= {
            f'model_id="{model_id}",status="success"': stats["successful_invocations"],
            f'model_id="{model_id}",status="failure"': stats["failed_invocations"],
            f'model_id="{model_id}",the="count"': stats["total_invocations"],
            f'model_id="{model_id}",the="sum"': round(stats["total_latency_ms"]),
            f'model_id="{model_id}",the="rate"': stats["success_rate"],
        }
    return found


def suffixes(kind: str) -> tuple[str, ...]:
    """What is appended to a family's name in samples."""
    return ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)


def metrics_in(tree: object) -> set[str]:
    """Names of the metrics that a parsed expression selects."""
    if isinstance(tree, list):
        return {name for item in tree for name in metrics_in(item)}
    if not isinstance(tree, dict):
        return set()
    own = {tree["name"]} if tree.get("type") in ("vectorSelector", "matrixSelector") else set()
    return own | {name for item in tree.values() for name in metrics_in(item)}
