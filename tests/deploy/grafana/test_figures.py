"""What figures look like, by Grafana's own library: exact numbers, and colours that mean the same everywhere."""

import pytest

from tests.deploy.grafana.dashboards import NAMES, Json, panels
from tests.deploy.grafana.library import figures, time_range

COUNTS = {
    "model-invocation-metrics": ("Invocations", "Failures", "Active", "Total Invocations per Model", "Sidecars Down"),
    "sidecar-health": ("Missing", "Dropped", "Sidecars without Gateway", "Alerts Firing"),
}


def figures_of(name: str) -> list[Json]:
    """Panels that show figures."""
    return [panel for panel in panels(name) if panel["type"] in ("stat", "bargauge")]


def panel_of(name: str, title: str) -> Json:
    return next(panel for panel in panels(name) if panel["title"] == title)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_known_has_no_colour(name: str) -> None:
    """Neither that nothing is reported, as in an outage, nor that there is no traffic: neither is good or bad."""
    asked = [panel for panel in figures_of(name) if panel["fieldConfig"]["defaults"]["color"]["mode"] == "thresholds"]
    assert len(asked) >= 6
    nothing = figures([(panel, []) for panel in asked])
    texts = [[(panel["fieldConfig"]["defaults"]["noValue"], "text")] for panel in asked]
    assert nothing == texts
    assert {"Not reported", "No rules", "None known"} >= {shown for ((shown, _),) in nothing}
    idle = figures([(panel, [("m", None)]) for panel in asked])
    assert {color for ((_, color),) in idle} == {"text"}
    assert {"No traffic", "No cost", "No tokens", "No queues", "None known"} >= {shown for ((shown, _),) in idle}


def test_a_cost_is_exact_to_the_cent() -> None:
    """$47,590.12 are not $47.59K, and what has no price has no cost, which is told from none known."""
    titles = ("Cost Today", "Cost This Month", "Cost in the Last Hour")
    asked = [panel_of("model-invocation-metrics", title) for title in titles]
    assert figures([(panel, [("", 47590.123)]) for panel in asked]) == [[("$47590.12", "text")]] * 3
    assert figures([(panel, [("", None)]) for panel in asked]) == [[("No cost", "text")]] * 3


def test_time_ranges_of_panels_are_understood() -> None:
    """By Grafana: from midnight, from the first of the month, and from an hour ago, up to now."""
    found = {panel["title"]: panel["timeFrom"] for name in NAMES for panel in panels(name) if "timeFrom" in panel}
    described = {title: time_range(asked) for title, asked in found.items()}
    assert described == {
        "Cost Today": "Today so far",
        "Cost This Month": "This month so far",
        "Cost in the Last Hour": "Last 1 hour",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_count_is_exact(name: str) -> None:
    """47,590 are not 48 K."""
    shown = figures([(panel_of(name, title), [("m", 47590)]) for title in COUNTS[name]])
    assert [text for ((text, _),) in shown] == ["47,590"] * len(COUNTS[name])


@pytest.mark.parametrize("name", NAMES)
def test_no_unit_shortens_counts(name: str) -> None:
    """In no panel, nor in a column of a table."""
    for panel in panels(name):
        columns = [
            one["value"]
            for override in panel["fieldConfig"]["overrides"]
            for one in override["properties"]
            if one["id"] == "unit"
        ]
        assert "short" not in [panel["fieldConfig"]["defaults"]["unit"], *columns]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_coloured_by_what_it_means(name: str) -> None:
    """A stat by its limits alone, never by chance; without limits it has no colour."""
    stats = [panel for panel in panels(name) if panel["type"] == "stat"]
    assert {panel["fieldConfig"]["defaults"]["color"]["mode"] for panel in stats} == {"thresholds"}
    plain = [panel for panel in stats if len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) == 1]
    shown = figures([(panel, [("m", 7)]) for panel in plain])
    assert {color for ((_, color),) in shown} <= {"text"}


def test_what_should_not_be_is_green_at_0_and_red_from_1() -> None:
    """On both dashboards alike; tickets are orange."""
    titles = [("sidecar-health", one) for one in ("Missing", "Dropped", "Sidecars without Gateway", "Sidecars Down")]
    wanted = [panel_of(*title) for title in [*titles, ("model-invocation-metrics", "Sidecars Down")]]
    assert [shown[0][1] for shown in figures([(panel, [("m", 0)]) for panel in wanted])] == ["green"] * len(wanted)
    assert [shown[0][1] for shown in figures([(panel, [("m", 1)]) for panel in wanted])] == ["red"] * len(wanted)
    for name in NAMES:
        alerts = panel_of(name, "Alerts Firing")
        calm, alarm = figures([(alerts, [("pages", n), ("tickets", n)]) for n in (0, 12)])
        assert calm == [("0", "green"), ("0", "green")]
        assert alarm == [("12", "red"), ("12", "orange")]


def test_the_worst_model_is_red_where_the_alert_is() -> None:
    """At 0 %, and at 2.1 s."""
    worst = [panel_of("model-invocation-metrics", title) for title in ("Worst Success Rate", "Worst 95th Percentile")]
    assert figures([(worst[0], [("m", 0)]), (worst[1], [("m", 2.1)])]) == [[("0.00%", "red")], [("2.10 s", "red")]]
    assert figures([(worst[0], [("m", 95)]), (worst[1], [("m", 1.9)])]) == [
        [("95.00%", "green")],
        [("1.90 s", "green")],
    ]
