"""The stack's Prometheus and Alertmanager, with the files that users run, on other ports and with shorter times."""

import contextlib
import re
import shutil
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.processes import free_port
from tests.deploy.prometheus import servers
from tests.deploy.prometheus.rules import DEPLOY
from tests.processes import eventually, get

SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FASTER = 60
"""A minute of the rules is a second here."""

DURATION = re.compile(r"(\[|:|offset |for: |interval: )(\d+)([smhd])\b")
PER_SECOND = re.compile(r"\) / (\d+)$", re.MULTILINE)
"""Where an increase is made a rate."""

WAITS = {
    "group_wait: 30s": "group_wait: 5s",
    "group_wait: 10s": "group_wait: 1s",
    "group_interval: 5m": "group_interval: 1s",
}


@dataclass(frozen=True)
class Monitoring:
    """Where the two are, and what can be asked of them."""

    prometheus: str
    alertmanager: str
    webhook: servers.Webhook

    def query(self, expression: str) -> dict[str, float]:
        """Value by labels, as `name="value"` joined with commas in alphabetical order."""
        result = self.ask("query", query=expression)["result"]
        return {key_of(sample["metric"]): float(sample["value"][1]) for sample in result}

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus' API."""
        return get(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")["data"]

    def firing(self) -> set[str]:
        """Alerts by name."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """What Alertmanager knows of alerts with these labels."""
        filters = urllib.parse.urlencode([("filter", f'{name}="{value}"') for name, value in labels.items()])
        alerts: Any = get(f"{self.alertmanager}/api/v2/alerts?{filters}")
        return list(alerts)

    def wait_until_up(self, count: int) -> None:
        """Until all of so many targets are scraped."""
        eventually(lambda: [t["health"] for t in self.ask("targets")["activeTargets"]], (["up"] * count).__eq__, 20)


def key_of(metric: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in sorted(metric.items()) if name != "__name__")


@contextlib.contextmanager
def monitoring(directory: Path, sidecars: Sequence[str], features: str = servers.FEATURES) -> Iterator[Monitoring]:
    """Both running, scraping sidecars at these URLs, and telling a webhook; `features` of Prometheus are on."""
    ports = free_port(), free_port()
    with servers.webhook() as webhook:
        configs = prepare(directory, sidecars, ports, webhook.url)
        with (
            servers.alertmanager(configs[1], ports[1]) as second,
            servers.prometheus(configs[0], ports[0], features) as first,
        ):
            yield Monitoring(first, second, webhook)


def prepare(directory: Path, sidecars: Sequence[str], ports: tuple[int, int], webhook_url: str) -> tuple[Path, Path]:
    """Copies of the files with other addresses and times: Prometheus' and Alertmanager's configuration."""
    shutil.copytree(DEPLOY / "prometheus", directory / "prometheus")
    shutil.copytree(DEPLOY / "alertmanager", directory / "alertmanager")
    targets = ", ".join(f'"{url.removeprefix("http://")}"' for url in sidecars)
    prometheus = directory / "prometheus/prometheus.yml"
    replace(
        prometheus,
        {
            '"sidecar:8002"': targets,
            "localhost:9090": f"127.0.0.1:{ports[0]}",
            "alertmanager:9093": f"127.0.0.1:{ports[1]}",
            "scrape_interval: 5s": "scrape_interval: 500ms",
            "scrape_timeout: 4s": "scrape_timeout: 500ms",
            "evaluation_interval: 15s": "evaluation_interval: 500ms",
        },
    )
    for path in (directory / "prometheus/rules").iterdir():
        rules = PER_SECOND.sub(lambda match: f") / {int(match[1]) // FASTER}", path.read_text())
        path.write_text(DURATION.sub(faster, rules))
    url_file = directory / "alertmanager/webhook_url"
    url_file.write_text(webhook_url)
    alertmanager = directory / "alertmanager/alertmanager.yml"
    replace(alertmanager, {"/etc/alertmanager/webhook_url": str(url_file), **WAITS})
    return prometheus, alertmanager


def replace(path: Path, replacements: dict[str, str]) -> None:
    """Each must be there: a file that has changed must not be run unchanged."""
    text = path.read_text()
    for old, new in replacements.items():
        assert old in text, f"{old!r} is not in {path.name}"
        text = text.replace(old, new)
    path.write_text(text)


def faster(match: "re.Match[str]") -> str:
    """A duration of the rules, in milliseconds."""
    before, number, unit = match.groups()
    return f"{before}{int(number) * SECONDS_OF[unit] * 1000 // FASTER}ms"
