"""The committed dashboards as tests read them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from deploy.grafana.generate import DASHBOARDS

Json = dict[str, Any]

NAMES = ("model-invocation-metrics", "sidecar-health")

METRIC = re.compile(r"\b((?:model|invoker|sidecar|process|scrape)_\w+|up)\{")


def read(name: str) -> Json:
    dashboard: Json = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
    return dashboard


def panels(name: str) -> list[Json]:
    """Without the rows."""
    return [panel for panel in read(name)["panels"] if panel["type"] != "row"]


def targets(name: str) -> Iterator[tuple[str, Json]]:
    """Title of the panel, and each of its queries."""
    for panel in panels(name):
        yield from ((panel["title"], target) for target in panel["targets"])


def annotations(name: str) -> list[Json]:
    found: list[Json] = read(name)["annotations"]["list"]
    return found


def variables(name: str) -> dict[str, Json]:
    return {variable["name"]: variable for variable in read(name)["templating"]["list"]}


def expressions(name: str) -> list[str]:
    """Of panels and annotations, as they are written."""
    return [
        *(target["expr"] for _, target in targets(name)),
        *(annotation["target"]["expr"] for annotation in annotations(name)),
    ]


def metrics(expression: str) -> set[str]:
    """Names of the metrics that an expression asks for, without what a histogram appends."""
    return {re.sub(r"_bucket$", "", name) for name in METRIC.findall(expression)}
