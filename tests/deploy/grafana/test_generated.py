"""The dashboards are what their generator makes, what Grafana takes, and what users were promised."""

import itertools
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana import limits
from deploy.grafana.generate import DASHBOARDS, render
from tests.deploy.grafana.dashboards import (
    NAMES,
    Json,
    annotations,
    expressions,
    metrics,
    panels,
    read,
    targets,
    variables,
)
from tests.deploy.prometheus.rules import alert_rules

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

PROMISED = [
    "Total Invocations per Model",
    "Success Rate by Model",
    "Invocation Rate",
    "Response Time Percentiles",
    "Active Invocations",
    "Success vs Failure Pie Chart",
    "Error Rate Over Time",
]

OF_PROMETHEUS = {"up", "scrape_duration_seconds", "scrape_samples_scraped"}


def test_the_committed_dashboards_are_the_generated_ones() -> None:
    """`make dashboards` changes nothing."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}
    assert committed == render()


@pytest.mark.parametrize("name", NAMES)
def test_the_sdk_reads_what_it_wrote(name: str) -> None:
    """Read into its types and written again, a dashboard is the same: there is nothing in it that they don't know."""
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(read(name)), cls=JSONEncoder))
    assert without_additions(again) == without_additions(read(name))


def without_additions(value: Any) -> Any:
    """Whatever is written, the SDK reads a placement in a menu, an interval's settings of any variable, a footer."""
    if isinstance(value, dict):
        added = {"placement", "auto", "auto_min", "auto_count", "footer"}
        return {key: without_additions(item) for key, item in value.items() if key not in added}
    return [without_additions(item) for item in value] if isinstance(value, list) else value


def test_the_promised_panels_are_there() -> None:
    """The seven of the specification, by name."""
    titles = [panel["title"] for panel in panels("model-invocation-metrics")]
    assert [title for title in PROMISED if titles.count(title) != 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_refreshed_filtered_and_not_edited(name: str) -> None:
    """Every 30 s; by replica; and what can't be saved can't be edited."""
    dashboard = read(name)
    assert (dashboard["refresh"], dashboard["editable"], dashboard["uid"]) == ("30s", False, name)
    assert dashboard["schemaVersion"] <= 42
    chosen = variables(name)
    assert (chosen["datasource"]["label"], chosen["datasource"]["query"]) == ("Data source", "prometheus")
    for filter_ in {"job", "instance", "model_id"} & set(chosen):
        assert [chosen[filter_][key] for key in ("multi", "includeAll", "refresh")] == [True, True, 2]
    # All jobs that have a sidecar, not all jobs: Prometheus has `up` and `process_*` of itself, too.
    patterns = {name: chosen[name].get("allValue") for name in {"job", "instance", "model_id"} & set(chosen)}
    assert patterns == {name: None if name == "job" else ".+" for name in patterns}


def test_models_can_be_chosen() -> None:
    """Models are a filter of the dashboard about them, and every query about models heeds it."""
    assert "model_id" in variables("model-invocation-metrics")
    about_models = [e for e in expressions("model-invocation-metrics") if re.search(r"\bmodel_\w+\{", e)]
    assert [e for e in about_models if 'model_id=~"$model_id"' not in e] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_explains_itself(name: str) -> None:
    """Title, description, a unit that Grafana knows, a text for no data, and the chosen data source."""
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"].endswith(".")
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in known
        assert defaults["noValue"]
        assert panel["datasource"] == DATA_SOURCE
        assert panel["targets"]
    assert {json.dumps(target["datasource"]) for _, target in targets(name)} == {json.dumps(DATA_SOURCE)}


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_is_bound_to_the_chosen_replicas(name: str) -> None:
    """Also within an expression; alerts, which have no replica, aside."""
    selectors = [found for _, target in targets(name) for found in re.findall(r"\w+\{[^}]*\}", target["expr"])]
    assert selectors
    assert [one for one in selectors if 'job=~"$job"' not in one or 'instance=~"$instance"' not in one] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_follows_the_zoom(name: str) -> None:
    """Rates are over $__rate_interval or the whole time range, and increases, too."""
    found = re.findall(r"(?:rate|increase)\([^[]*(\[[^]]*\])", " ".join(expressions(name)))
    assert set(found) == {"[$__rate_interval]", "[$__range]"}


@pytest.mark.parametrize("name", NAMES)
def test_success_is_computed_from_counters(name: str) -> None:
    """The mean of replicas' own success rates is not the success rate of all; and a sum comes after its rate."""
    assert [
        e for e in expressions(name) if re.search(r"model_success_rate|\bavg\b|(rate|increase)\((sum|max)\b", e)
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_a_place_and_an_id_of_their_own(name: str) -> None:
    """On 24 columns, none over another; each row above what belongs to it."""
    everything = read(name)["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells = [cell for panel in everything for cell in cells_of(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    order = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in everything]
    assert order == sorted(order)


def cells_of(place: Json) -> list[tuple[int, int]]:
    return list(
        itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
    )


def test_every_metric_is_one_that_the_readme_describes() -> None:
    """Which tests/test_docs.py holds against what the sidecar exposes."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", readme, re.MULTILINE))
    used = {metric for name in NAMES for expression in expressions(name) for metric in metrics(expression)}
    assert {metric for metric in used - OF_PROMETHEUS if not metric.startswith("process_")} - described == set()


def test_panels_turn_red_where_alerts_fire() -> None:
    """The limits are those of the alerting rules, and the panels have them."""
    rules = {(rule["alert"], rule["labels"]["severity"]): rule["expr"] for rule in alert_rules()}
    assert f"> {limits.ERROR_RATE_PERCENT:g}" in rules["ModelHighErrorRate", "ticket"]
    assert f"> {limits.P95_S:g}" in rules["ModelHighLatency", "ticket"]
    assert f"> {limits.LOOP_LAG_S:g}" in rules["SidecarSlow", "ticket"]
    assert f"< {limits.DISK_FREE_TICKET_PERCENT / 100:g}" in rules["DiskNearlyFull", "ticket"]
    assert f"< {limits.DISK_FREE_PAGE_PERCENT / 100:g}" in rules["DiskNearlyFull", "page"]
    steps = {
        panel["title"]: [
            (step["value"], step["color"]) for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        ]
        for name in NAMES
        for panel in panels(name)
    }
    assert steps["Error Rate Over Time"] == [(None, "green"), (5, "red")]
    assert steps["Response Time Percentiles"] == steps["95th Percentile"] == [(None, "green"), (2, "red")]
    assert steps["Success Rate"] == steps["Success Rate by Model"] == [(None, "red"), (95, "green")]
    assert steps["Event Loop Lag"] == [(None, "green"), (0.25, "red")]
    assert steps["Disk Free"] == [(None, "red"), (5, "orange"), (15, "green")]


def test_alerts_lead_to_a_dashboard() -> None:
    """Which exists, and knows the variable that the link sets."""
    for rule in alert_rules():
        url = urllib.parse.urlsplit(rule["annotations"]["dashboard"])
        name = url.path.removeprefix("/d/")
        assert name in NAMES
        assert {key.removeprefix("var-") for key in urllib.parse.parse_qs(url.query)} <= set(variables(name))


def test_alerts_are_marked_on_the_graphs() -> None:
    """While they fire, on both dashboards; of the chosen models, and of those that are about none."""
    assert annotations("model-invocation-metrics")[0]["target"]["expr"] == (
        'ALERTS{alertstate="firing", model_id=~"$model_id|"}'
    )
    assert annotations("sidecar-health")[0]["target"]["expr"] == 'ALERTS{alertstate="firing"}'


def test_grafana_is_told_where_everything_is() -> None:
    """The provisioned data source has the dashboards' default uid, and the dashboards' folder is the mounted one."""
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert {variables(name)["datasource"]["current"]["value"] for name in NAMES} == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards/dashboards.yaml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in compose["volumes"]


def test_a_dot_on_a_graph_leads_to_its_trace() -> None:
    """The exemplar's label of the sidecar opens a URL from the environment, which compose.yaml sets."""
    provisioned = (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    (source,) = yaml.safe_load(provisioned)["datasources"]
    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert (destination["name"], destination["url"]) == ("trace_id", "${TRACE_URL}$${__value.raw}")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    assert "TRACE_URL" in compose["environment"]
    with_dots = {title for title, target in targets("model-invocation-metrics") if target.get("exemplar")}
    assert with_dots == {"Response Time Percentiles", "Latency Distribution"}
