"""Which alerts silence which, asked of a real Alertmanager with the stack's file."""

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.deploy.processes import free_port
from tests.deploy.prometheus import servers
from tests.deploy.prometheus.monitoring import prepare
from tests.deploy.prometheus.rules import alert_rules
from tests.processes import eventually, get

SEVERITIES = {rule["alert"]: rule["labels"]["severity"] for rule in alert_rules()}


def told(url: str, alerts: Sequence[tuple[str, str]]) -> None:
    """Alertmanager is told that these fire: name and model."""
    labels = [{"alertname": name, "severity": SEVERITIES[name], "model_id": model} for name, model in alerts]
    body = json.dumps([{"labels": one} for one in labels]).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def silenced(url: str) -> dict[tuple[str, str], bool]:
    """Of all alerts that it knows."""
    alerts: Any = get(f"{url}/api/v2/alerts")
    return {
        (one["labels"]["alertname"], one["labels"]["model_id"]): bool(one["status"]["inhibitedBy"]) for one in alerts
    }


def test_a_page_silences_the_models_tickets_but_for_cost(tmp_path: Path) -> None:
    """A model that fails is slow and has a high error rate, too; what it costs is another matter, and so are others."""
    expected = {
        ("ModelErrorBudgetBurnFast", "a"): False,
        ("ModelHighErrorRate", "a"): True,
        ("ModelHighLatency", "a"): True,
        ("ModelSlowFirstToken", "a"): True,
        ("ModelCostHigh", "a"): False,
        ("ModelUsageMissing", "a"): False,
        ("ModelHighErrorRate", "b"): False,
        ("ModelSlowFirstToken", "b"): False,
    }
    ports = free_port(), free_port()
    with servers.webhook() as webhook:
        _, config = prepare(tmp_path, [], ports, webhook.url)
        with servers.alertmanager(config, ports[1]) as url:
            told(url, [*expected])
            eventually(lambda: silenced(url), expected.__eq__, 20)
