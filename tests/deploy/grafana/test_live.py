"""The dashboards show a real run: every query has an answer, every link leads somewhere."""

import math
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.deploy.grafana.dashboards import NAMES, Json, annotations, panels, read, targets, variables
from tests.deploy.grafana.filled import fill_expression, fill_url
from tests.deploy.grafana.live import BEYOND, FAILING, STEADY, STRANGE, Live, live_run
from tests.processes import get

GATEWAY_URL = "${gateway_url}"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_run(tmp_path_factory.mktemp("live")) as running:
        yield running


def answer(live: Live, target: Json, models: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """What Prometheus says to a panel's query; points that are not a number are none."""
    expression = fill_expression(target["expr"], live.time_range_s, models)
    series = live.at_end(expression) if target.get("instant") else live.over_time(expression)
    return [one for one in series if any(not math.isnan(value) for value in values_of(one))]


def values_of(series: dict[str, Any]) -> list[float]:
    points = series["values"] if "values" in series else [series["value"]]
    return [float(value) for _, value in points]


@pytest.mark.parametrize("name", NAMES)
def test_every_query_has_an_answer(name: str, live: Live) -> None:
    """Of each panel, and of the annotations: alerts fired, the sidecar restarted."""
    asked = [*targets(name), *((one["name"], one["target"]) for one in annotations(name))]
    assert [(title, target["expr"]) for title, target in asked if not answer(live, target)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_values(name: str, live: Live) -> None:
    """By the labels that Prometheus has."""
    found = {}
    for variable in variables(name).values():
        if variable["type"] == "query":
            metric, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
            found[label] = live.ask(f"label/{label}/values", **{"match[]": fill_expression(metric, live.time_range_s)})
    sidecar = urllib.parse.urlsplit(live.system.sidecar_url).netloc
    models = sorted([STEADY, FAILING, STRANGE, "__overflow__"])
    expected = {"job": ["metrics-sidecar"], "instance": [sidecar], "model_id": models}
    assert found == {label: expected[label] for label in found}


def test_only_sidecars_are_shown(live: Live) -> None:
    """Prometheus scrapes others, too, which have the same metrics of their processes and scrapes."""
    shown = [one["metric"].get("instance") for _, target in targets("sidecar-health") for one in answer(live, target)]
    assert set(shown) - {None} == {urllib.parse.urlsplit(live.system.sidecar_url).netloc}
    (target,) = [target for title, target in targets("sidecar-health") if title == "Sidecars Down"]
    assert [one["value"][1] for one in answer(live, target)] == ["0"]


def test_totals_are_those_of_the_statistics(live: Live) -> None:
    """Per model, to the last invocation; what is beyond the cap as __overflow__."""
    stats = get(f"{live.system.sidecar_url}/metrics/stats")["stats"]
    expected = {model: figures["total_invocations"] for model, figures in stats.items()}
    every = targets("model-invocation-metrics")
    (target,) = [target for title, target in every if title == "Total Invocations per Model"]
    shown = {one["metric"]["model_id"]: int(one["value"][1]) for one in answer(live, target)}
    assert shown == expected
    assert "__overflow__" in shown
    assert BEYOND not in shown
    assert figure(live, "Invocations") == sum(expected.values())
    assert figure(live, "Failures") == sum(figures["failed_invocations"] for figures in stats.values())


def figure(live: Live, title: str) -> float:
    """Of a panel that shows one."""
    (target,) = [target for panel, target in targets("model-invocation-metrics") if panel == title]
    (one,) = answer(live, target)
    return values_of(one)[0]


@pytest.mark.parametrize("model_id", [STEADY, STRANGE])
def test_a_chosen_model_is_the_only_one_shown(model_id: str, live: Live) -> None:
    """Whatever its name: each query by model has that model's series, and no other."""
    by_model = [target for _, target in targets("model-invocation-metrics") if "by (model_id)" in target["expr"]]
    shown = {one["metric"]["model_id"] for target in by_model for one in answer(live, target, (model_id,))}
    assert shown == {model_id}


def test_a_dot_is_one_invocation(live: Live) -> None:
    """Prometheus has exemplars of the latency's buckets, with traces that callers sent."""
    with_dots = [target for _, target in targets("model-invocation-metrics") if target.get("exemplar")]
    for target in with_dots:
        expression = fill_expression(target["expr"], live.time_range_s)
        found = live.ask("query_exemplars", query=expression, start=live.start, end=live.end)
        traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
        assert traces
        assert traces <= set(live.trace_ids)


def links_of(name: str) -> list[str]:
    """URLs as they are written: of the dashboard, of its panels and of columns."""
    dashboard = read(name)
    found = [*dashboard["links"]]
    for panel in panels(name):
        found += panel["fieldConfig"]["defaults"].get("links", [])
        for override in panel["fieldConfig"]["overrides"]:
            found += [link for one in override["properties"] if one["id"] == "links" for link in one["value"]]
    return [link["url"] for link in found]


HISTORY = sorted({url for name in NAMES for url in links_of(name) if "/metrics/history" in url})


def follow(live: Live, url: str, model_id: str) -> Json:
    """What the gateway answers to a link, filled in as Grafana does for a series or a cell of the model."""
    values = {
        "gateway_url": live.system.gateway_url,
        "__field.labels.model_id": model_id,
        "__value.raw": model_id,
        "__field.labels.status": "failure",
        "__field.labels.error_type": "upstream_status",
    }
    filled = fill_url(url, values, moment(live.start), moment(time.time()))
    assert "$" not in filled
    return get(filled)


def moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


@pytest.mark.parametrize("url", [url for url in HISTORY if "model_id=" in url])
@pytest.mark.parametrize("model_id", [FAILING, STRANGE])
def test_a_series_leads_to_its_model(url: str, model_id: str, live: Live) -> None:
    """To the history of that model, whatever its name."""
    assert {row["model_id"] for row in follow(live, url, model_id)["history"]} == {model_id}


@pytest.mark.parametrize("url", [url for url in HISTORY if "status=" in url])
def test_a_failure_leads_to_failures(url: str, live: Live) -> None:
    """To the history of what failed."""
    assert {row["success"] for row in follow(live, url, FAILING)["history"]} == {False}


@pytest.mark.parametrize("url", [url for url in HISTORY if "error_type=" in url])
def test_a_type_of_error_leads_to_failures_of_that_type(url: str, live: Live) -> None:
    """To the history of what failed in just that way."""
    assert {row["error_type"] for row in follow(live, url, FAILING)["history"]} == {"upstream_status"}


@pytest.mark.parametrize("url", [url for url in HISTORY if "model_id=" not in url])
def test_a_figure_leads_to_all_models(url: str, live: Live) -> None:
    """To the history of the time range, of more than one model."""
    assert len({row["model_id"] for row in follow(live, f"{url}&limit=1000", "")["history"]}) > 1


def test_the_other_links_lead_somewhere(live: Live) -> None:
    """To the sidecar's books, and to the other dashboard with variables that both have."""
    others = sorted({url for name in NAMES for url in links_of(name)} - set(HISTORY))
    books = [url for url in others if url.startswith(GATEWAY_URL)]
    assert [follow(live, url, "")["consistent"] for url in books] == [True]
    to_dashboards = [url for url in others if url not in books]
    values = {"datasource": "prometheus", "job": "$__all", "instance": "$__all"}
    filled = [
        fill_url(url, values, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
        for url in to_dashboards
    ]
    query = "from=1767225600000&to=1767312000000&var-datasource=prometheus&var-job=%24__all&var-instance=%24__all"
    assert filled == [f"/d/{name}?{query}" for name in NAMES]
