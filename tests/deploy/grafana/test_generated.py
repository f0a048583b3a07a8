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
from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S
from metrics_sidecar.ledger.usage import FIRST_TOKEN_BOUNDS_S
from metrics_sidecar.metrics.process_metrics import LAG_SECONDS
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
    """Whatever is written, the SDK reads a placement in a menu, an interval's settings of any variable, a footer. Lanes
    of annotations are what it doesn't know yet."""
    if isinstance(value, dict):
        added = {"placement", "auto", "auto_min", "auto_count", "footer"}
        kept = {key: item for key, item in value.items() if key not in added and item != {"multiLane": True}}
        return {key: without_additions(item) for key, item in kept.items()}
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
    # The job that the rules name, not all jobs: Prometheus has `up` and `process_*` of itself, too. By its name, so
    # that a sidecar that told nothing in the time range is asked for all the same.
    patterns = {name: chosen[name].get("allValue") for name in {"job", "instance", "model_id"} & set(chosen)}
    assert patterns == {name: "metrics-sidecar" if name == "job" else ".+" for name in patterns}


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
        assert defaults["unit"] in known | {"prefix:$"}
        assert defaults["noValue"]
        assert panel["datasource"] == DATA_SOURCE
        assert panel["targets"]
    assert {json.dumps(target["datasource"]) for _, target in targets(name)} == {json.dumps(DATA_SOURCE)}


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_is_bound_to_the_chosen_replicas(name: str) -> None:
    """Also within an expression; alerts and what rules have added up, which have no replica, aside."""
    selectors = [found for _, target in targets(name) for found in re.findall(r"[\w:]+\{[^}]*\}", target["expr"])]
    own = [one for one in selectors if not one.startswith(("ALERTS{", "model:"))]
    assert own
    assert [one for one in own if 'job=~"$job"' not in one or 'instance=~"$instance"' not in one] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_follows_the_zoom(name: str) -> None:
    """Rates are over $__rate_interval or the whole time range, and increases, too."""
    assert not re.search(r"(?:rate|increase)\(model_invocations_total", " ".join(of_the_range(name)))
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


def of_the_range(name: str) -> list[str]:
    """Expressions about the dashboard's time range that are no percentiles."""
    return [e for e in expressions(name) if "$__range" in e and "histogram_quantile" not in e]


def test_every_metric_is_one_that_is_described() -> None:
    """Which tests/test_docs.py holds against what the sidecar exposes."""
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", page, re.MULTILINE))
    used = {metric for name in NAMES for expression in expressions(name) for metric in metrics(expression)}
    assert {metric for metric in used - OF_PROMETHEUS if not metric.startswith("process_")} - described == set()


def test_panels_turn_red_where_alerts_fire() -> None:
    """The limits are those of the alerting rules, and the panels have them."""
    rules = {(rule["alert"], rule["labels"]["severity"]): rule["expr"] for rule in alert_rules()}
    assert f"> {limits.ERROR_RATE_PERCENT:g}" in rules["ModelHighErrorRate", "ticket"]
    assert f"> {limits.P95_S:g}" in rules["ModelHighLatency", "ticket"]
    assert f"> {limits.FIRST_TOKEN_P95_S:g}" in rules["ModelSlowFirstToken", "ticket"]
    assert f"> {limits.USAGE_MISSING_PERCENT:g}" in rules["ModelUsageMissing", "ticket"]
    assert f"> {limits.FALLBACK_PERCENT:g}" in rules["FallbackServing", "ticket"]
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
    assert steps["Worst 95th Percentile"] == steps["95th Percentile by Model"] == [(None, "green"), (2, "red")]
    assert steps["Success Rate"] == steps["Success Rate by Model"] == [(None, "red"), (95, "green")]
    assert steps["Worst Success Rate"] == [(None, "red"), (95, "green")]
    first_tokens = ("95th Percentile to First Token", "Time to First Token", "Time to First Token by Model")
    assert [steps[title] for title in first_tokens] == [[(None, "green"), (2.5, "red")]] * 3
    assert steps["Without Usage"] == [(None, "green"), (5, "red")]
    assert steps["Event Loop Lag"] == [(None, "green"), (0.25, "red")]
    assert steps["Disk Free"] == [(None, "red"), (5, "orange"), (15, "green")]


def test_a_limit_of_a_percentile_is_a_bound_of_its_histogram() -> None:
    """Only there is a percentile from buckets exact."""
    assert limits.P95_S in BUCKET_BOUNDS_S
    assert limits.FIRST_TOKEN_P95_S in FIRST_TOKEN_BOUNDS_S
    assert limits.LOOP_LAG_S in LAG_SECONDS


def test_the_burn_rate_has_the_lines_of_the_page() -> None:
    """1 h at 14.4 and 6 h at 6, of the same budget."""
    (page,) = [rule["expr"] for rule in alert_rules() if rule["alert"] == "ModelErrorBudgetBurnFast"]
    assert f"ratio_rate1h > {limits.BURN_RATE_1H:g} * {limits.ERROR_BUDGET:g}" in page
    assert f"ratio_rate6h > {limits.BURN_RATE_6H:g} * {limits.ERROR_BUDGET:g}" in page
    panel = panel_of("model-invocation-metrics", "Error Budget Burn Rate")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, limits.BURN_RATE_6H, limits.BURN_RATE_1H]
    assert [re.findall(r"ratio_rate\w+", target["expr"]) for target in panel["targets"]] == [
        ["ratio_rate1h"],
        ["ratio_rate6h"],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_worst_comes_first(name: str) -> None:
    """In each legend by its last value, and in tables of models."""
    graphs = [panel for panel in panels(name) if panel["type"] == "timeseries"]
    legends = {panel["title"]: panel["options"]["legend"] for panel in graphs}
    assert {legend["sortBy"] for legend in legends.values()} == {"Last *"}
    ascending = {title for title, legend in legends.items() if not legend["sortDesc"]}
    low_is_worse = {"sidecar-health": {"Disk Free over Time"}, "model-invocation-metrics": {"Upstream Health"}}
    assert ascending == low_is_worse.get(name, set())
    tables = {panel["title"]: panel["options"]["sortBy"] for panel in panels(name) if panel["type"] == "table"}
    assert tables["Firing Alerts"] == [{"displayName": "Severity", "desc": False}]  # page, then ticket
    if "Models" in tables:
        assert tables["Models"] == [{"displayName": "Error rate", "desc": True}]


def test_a_low_error_rate_can_be_seen() -> None:
    """Its axis ends where it does, and not at 100 %."""
    assert "max" not in panel_of("model-invocation-metrics", "Error Rate Over Time")["fieldConfig"]["defaults"]


def test_a_type_of_error_leads_to_its_invocations() -> None:
    """Links of panels by `error_type` carry it, and the model if they have one."""
    by_type = [panel for panel in panels("model-invocation-metrics") if "error_type" in panel["targets"][0]["expr"]]
    assert len(by_type) == 2
    for panel in by_type:
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(link["url"]).query)
        assert query["error_type"] == ["${__field.labels.error_type:percentencode}"]
        assert ("model_id" in query) == (
            "model_id" in panel["targets"][0]["expr"].partition("by (")[2].partition(")")[0]
        )


def panel_of(name: str, title: str) -> Json:
    (found,) = [panel for panel in panels(name) if panel["title"] == title]
    return found


def test_alerts_lead_to_a_dashboard() -> None:
    """Which exists, and knows the variable that the link sets."""
    for rule in alert_rules():
        url = urllib.parse.urlsplit(rule["annotations"]["dashboard"])
        name = url.path.removeprefix("/d/")
        assert name in NAMES
        assert {key.removeprefix("var-") for key in urllib.parse.parse_qs(url.query)} <= set(variables(name))


def test_pages_are_marked_on_the_graphs() -> None:
    """One mark each while they fire, on both dashboards; of the chosen models, and of those that are about none."""
    assert annotations("model-invocation-metrics")[0]["target"]["expr"] == (
        'group by (alertname) (ALERTS{alertstate="firing", severity=~"page", model_id=~"$model_id|"})'
    )
    assert annotations("sidecar-health")[0]["target"]["expr"] == (
        'group by (alertname) (ALERTS{alertstate="firing", severity=~"page"})'
    )


@pytest.mark.parametrize("name", NAMES)
def test_marks_cover_no_graph(name: str) -> None:
    """They stand in lanes of their own."""
    graphs = [panel for panel in panels(name) if panel["type"] == "timeseries"]
    assert {json.dumps(panel["options"]["annotations"]) for panel in graphs} == {'{"multiLane": true}'}


@pytest.mark.parametrize("name", NAMES)
def test_a_restart_is_marked_where_the_process_began(name: str) -> None:
    """By the value, in ms, whatever the distance of the samples; not those before the time range."""
    (restarts,) = [one for one in annotations(name) if one["name"] == "Restarts"]
    assert restarts["useValueForTime"] is True
    assert restarts["target"]["expr"] == (
        '1000 * process_start_time_seconds{job=~"$job", instance=~"$instance"} >= ${__from}'
    )


def test_prometheus_keeps_what_this_month_needs() -> None:
    """To the end of its 31st day, what it had cost before its first is still known."""
    asked = {panel["timeFrom"] for panel in panels("model-invocation-metrics") if "timeFrom" in panel}
    assert "now/M" in asked
    command = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["prometheus"]["command"]
    (kept,) = [re.fullmatch(r"--storage\.tsdb\.retention\.time=(\d+)d", one) for one in command if "retention" in one]
    assert kept is not None
    assert int(kept[1]) >= 32


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
