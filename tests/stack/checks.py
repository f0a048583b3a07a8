"""What is promised of the stack, each as a function of the running one that says what it saw."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.processes import eventually, get
from tests.stack import questions
from tests.stack.compose import ROOT, Stack
from tests.stack.questions import GATEWAY, MOCK, PROMETHEUS, curl, stats
from tests.stack.receiver import received_alerts

OURS = ("gateway", "sidecar", "mock")
WORLD_WRITABLE = ("/tmp", "/var/tmp")
JSON_BODY = ("-H", "Content-Type: application/json", "-d")
FAILING_MODEL = "stack-failing"
SLOW_MODEL = "stack-slow"
OWN_MODEL = "stack-own"
OWN_PORT = 8010
ALERT = "ModelErrorBudgetBurnFast"
ALERT_TIMEOUT_S = 120.0


def confined(stack: Stack) -> str:
    """Each process runs as an ordinary user, without capabilities, and can write nowhere but in its volumes."""
    for service in stack.images:
        container = stack.container(service)
        status = Path(f"/proc/{container['State']['Pid']}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert "0" not in fields["Uid"].split(), f"{service} runs as root"
        assert {fields[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}, f"{service}: {status}"
        assert fields["NoNewPrivs"] == "1"
        assert container["HostConfig"]["ReadonlyRootfs"], service
        hosts = {port["HostIp"] for ports in container["NetworkSettings"]["Ports"].values() for port in ports or []}
        assert hosts == {"127.0.0.1"}, f"{service} is published on {hosts}"
    for service in OURS:
        written = [path for path in WORLD_WRITABLE if stack.exit_code(service, "touch", f"{path}/written") == 0]
        assert written == ["/tmp"]
    size = int(stack.engine.docker("image", "inspect", "--format", "{{.Size}}", stack.images["gateway"]))
    base = int(stack.engine.docker("image", "inspect", "--format", "{{.Size}}", stack.base_image))
    return f"{len(stack.images)} services; the image adds {(size - base) / 1e6:.0f} MB to Python's"


def answers_the_curls(_stack: Stack) -> str:
    """The commands of the README's first tour, and of its table of services, work as they are written."""
    body = '{"worklet_input": {"model_id": "gpt-3.5", "input": [1, 2, 3, 4, 5]}}'
    answer = json.loads(curl("-X", "POST", f"{GATEWAY}/invoke", *JSON_BODY, body))
    assert (answer["worklet_output"], answer["success"], answer["error_log"]) == ([6, 7, 8, 9, 10], True, "")
    body = '{"worklet_input": {"model_id": "bert-base", "input": [10, 20, 30]}}'
    assert json.loads(curl("-X", "POST", f"{GATEWAY}/invoke", *JSON_BODY, body))["worklet_output"] == [15, 25, 35]
    eventually(stats, lambda models: {"gpt-3.5", "bert-base"} <= models.keys(), questions.SCRAPED_S)
    (row,) = json.loads(curl(f"{GATEWAY}/metrics/history?model_id=gpt-3.5&limit=10"))["history"]
    assert (row["id"], row["success"], row["input_size"], row["output_size"]) == (1, True, 5, 5)
    found = json.loads(curl(f"{GATEWAY}/metrics/stats?model_id=gpt-3.5"))["stats"]["gpt-3.5"]
    assert (found["total_invocations"], found["success_rate"]) == (1, 100.0)
    assert 'model_invocations_total{model_id="gpt-3.5",status="success"} 1\n' in curl(f"{GATEWAY}/metrics")
    pages = (f"{GATEWAY}/docs", f"{MOCK}/healthz", "http://localhost:8002/docs", "http://localhost:9093/-/ready")
    for page in pages:
        curl(page)
    return "invoke, history, stats, metrics, docs"


def agrees_under_load(_stack: Stack) -> str:
    """What callers saw is what was recorded."""
    return questions.finish_load(questions.start_load("--rate", "300", "--duration", "8"))


def is_scraped(_stack: Stack) -> str:
    """All targets of Prometheus are up, its rules evaluate, and it knows the Alertmanager."""
    found = eventually(targets, lambda one: set(one.values()) == {"up"}, questions.SCRAPED_S)
    assert set(found) == {"metrics-sidecar", "prometheus", "alertmanager"}
    groups = get(f"{PROMETHEUS}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert len(rules) > 0
    managers = get(f"{PROMETHEUS}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert [one["url"] for one in managers] == ["http://alertmanager:9093/api/v2/alerts"]
    return f"targets {', '.join(f'{job} {health}' for job, health in sorted(found.items()))}; {len(rules)} rules"


def targets() -> dict[str, str]:
    """Health by job."""
    active = get(f"{PROMETHEUS}/api/v1/targets")["data"]["activeTargets"]
    return {target["labels"]["job"]: target["health"] for target in active}


def agrees_with_prometheus(_stack: Stack) -> str:
    """Each count, rate and latency sum in Prometheus equals `/metrics/stats`."""
    values = questions.agreed()
    return f"{sum(len(by_labels) for by_labels in values.values())} values equal: {values['counts']}"


def alerts(_stack: Stack) -> str:
    """A failing model server is paged: the shipped rule fires, and Alertmanager sends it to the webhook's URL."""
    questions.mock({"latency": "fixed:1ms", "models": {FAILING_MODEL: {"failure_rate": 1.0}}})
    began = time.monotonic()
    with received_alerts() as all_received:
        while not (received := [alert for alert in all_received if alert["labels"]["alertname"] == ALERT]):
            assert time.monotonic() < began + ALERT_TIMEOUT_S, f"no {ALERT} in {ALERT_TIMEOUT_S} s; {pending()}"
            assert questions.invoke(FAILING_MODEL)[0] == 502
            assert questions.invoke("gpt-3.5")[0] == 200
            time.sleep(0.2)
    questions.mock({"latency": "fixed:1ms"})
    assert [(one["status"], one["labels"]["model_id"], one["labels"]["severity"]) for one in received] == [
        ("firing", FAILING_MODEL, "page")
    ]
    return f"{ALERT} received after {time.monotonic() - began:.0f} s: {received[0]['annotations']['description']}"


def pending() -> object:
    return [(one["labels"], one["state"]) for one in get(f"{PROMETHEUS}/api/v1/alerts")["data"]["alerts"]]


def survives_the_sidecars_death(stack: Stack) -> str:
    """kill -9 of the sidecar under load: callers notice nothing, it comes back, each call is recorded once."""
    load = questions.start_load("--rate", "300", "--duration", "10")
    time.sleep(3.0)
    before = stack.container("sidecar")
    os.kill(before["State"]["Pid"], signal.SIGKILL)  # the engine's own kill would count as a wish to have it stopped
    sent = questions.finish_load(load)
    after = eventually(
        lambda: stack.container("sidecar"),
        lambda one: one["State"].get("Health", {}).get("Status") == "healthy",
        questions.SCRAPED_S,
    )
    assert after["State"]["Pid"] != before["State"]["Pid"]
    assert after["RestartCount"] == before["RestartCount"] + 1
    check_books()
    questions.agreed()
    return f"started again by the engine; {sent}; books consistent, nothing missing"


def check_books() -> None:
    found = get(f"{GATEWAY}/metrics/reconcile")
    assert (found["consistent"], found["missing"]["count"], found["difference_count"]) == (True, 0, 0), found
    assert found["checked"]["rows"] == sum(one["total_invocations"] for one in stats().values())


def drains(stack: Stack) -> str:
    """A gateway that is stopped finishes the calls that it has, and has recorded them when it is gone."""
    questions.mock({"latency": "fixed:3s"})
    answers: list[tuple[int, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(questions.invoke(SLOW_MODEL)))
    caller.start()
    called = f'model_active_invocations{{model_id="{SLOW_MODEL}"}}'
    eventually(lambda: sample(called), lambda count: count == 1.0, questions.SCRAPED_S)
    stack.compose("stop", "gateway")
    caller.join()
    assert [(status, answer["success"]) for status, answer in answers] == [(200, True)]
    assert stack.container("gateway")["State"]["ExitCode"] == 0
    found = json.loads(curl(f"http://localhost:8002/metrics/stats?model_id={SLOW_MODEL}"))["stats"][SLOW_MODEL]
    assert found["successful_invocations"] == 1
    stack.up()
    questions.mock({"latency": "fixed:1ms"})
    return f"a call of {answers[0][1]['latency_ms']:.0f} ms was answered and recorded after SIGTERM"


def sample(name: str) -> float | None:
    """Its value as the sidecar exposes it; None if it has none yet."""
    lines = curl("http://localhost:8002/metrics").splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), None)


def keeps_history(stack: Stack) -> str:
    """`down` and `up`: the same statistics and history, and Prometheus still has the samples of before."""
    questions.agreed()  # so all of it has been scraped
    before, newest = stats(), history()
    scraped_at = time.time()
    stack.down()
    assert stack.engine.docker("ps", "--all", "--quiet") == ""
    stack.up()
    assert (stats(), history()) == (before, newest)
    check_books()
    questions.agreed()
    old = questions.query(f"model_total_invocations @ {scraped_at:.3f}", "model_id")
    assert old == {(model,): one["total_invocations"] for model, one in before.items()}
    assert questions.invoke("gpt-3.5")[0] == 200
    return f"{sum(one['total_invocations'] for one in before.values())} invocations of {len(before)} models, kept"


def history() -> object:
    return get(f"{GATEWAY}/metrics/history?limit=1000")


def takes_overrides(stack: Stack) -> str:
    """Two workers and a model server of one's own on this machine, as the override files say to do it."""
    stack.down()
    changed = stack.with_settings(
        "COMPOSE_FILE=deploy/compose.yaml:deploy/compose.workers.yaml:deploy/compose.models.yaml\n"
        f"INVOKER_WORKERS=2\nUPSTREAM_URL=http://host.docker.internal:{OWN_PORT}/invoke\n"
    )
    with own_model_server():
        changed.up()
        assert questions.invoke(OWN_MODEL, [1])[1]["worklet_output"] == [6]
    running = set(changed.compose("ps", "--services").split())
    assert running == stack.images.keys() - {"mock"}
    eventually(lambda: sample("invoker_workers_connected"), lambda count: count == 2.0, questions.SCRAPED_S)
    eventually(stats, lambda models: models.get(OWN_MODEL, {}).get("total_invocations") == 1, questions.SCRAPED_S)
    changed.down()
    return "two workers, and no mock server"


@contextlib.contextmanager
def own_model_server() -> Iterator[None]:
    """A model server outside of the stack."""
    server = subprocess.Popen(
        [sys.executable, "-m", "deploy.mock_server", "--host", "0.0.0.0", "--port", str(OWN_PORT)],
        cwd=ROOT, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        server.terminate()
        server.wait()


CHECKS = (
    confined,
    answers_the_curls,
    agrees_under_load,
    is_scraped,
    agrees_with_prometheus,
    alerts,
    survives_the_sidecars_death,
    drains,
    keeps_history,
    takes_overrides,
)
