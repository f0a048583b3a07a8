"""A Prometheus of its own for a test, on the rules that the stack runs."""

import contextlib
import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tests import debian
from tests.deploy.processes import free_port
from tests.processes import eventually, get, get_text

RULES = Path(__file__).parents[3] / "deploy/prometheus/rules"


@contextlib.contextmanager
def prometheus(directory: Path, sidecar_url: str) -> Iterator[str]:
    """Its URL, once it has scraped the sidecar and itself, which it does each second, as it evaluates all rules."""
    rules = directory / "rules"
    rules.mkdir()
    for path in RULES.glob("*.yaml"):
        text = re.sub(r"^ *interval: \w+$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (rules / path.name).write_text(text, encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    target = urllib.parse.urlsplit(sidecar_url).netloc
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{rules}/*.yaml"],
        "scrape_configs": [
            {"job_name": "metrics-sidecar", "static_configs": [{"targets": [target]}]},
            {"job_name": "prometheus", "static_configs": [{"targets": [urllib.parse.urlsplit(url).netloc]}]},
        ],
    }
    config_file = directory / "prometheus.yml"
    config_file.write_text(json.dumps(config), encoding="utf-8")
    command = [
        str(debian.prometheus()),
        f"--config.file={config_file}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address={urllib.parse.urlsplit(url).netloc}",
        "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
    ]
    with (
        (directory / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: scraped(url), bool, 20.0)
            yield url
        finally:
            process.kill()


def scraped(url: str) -> bool:
    """Whether it is up and each target has answered a scrape."""
    with contextlib.suppress(OSError):
        get_text(f"{url}/-/ready")
        targets = get(f"{url}/api/v1/targets?state=active")["data"]["activeTargets"]
        return [target["health"] for target in targets] == ["up", "up"]
    return False
