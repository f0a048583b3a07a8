"""Alerts on the monitoring itself."""

from pathlib import Path

from tests.deploy.prometheus.rules import Case, check, flat, metric, phases

MINE = {"job": "prometheus", "instance": "p"}
THEIRS = {"job": "alertmanager", "instance": "am"}


def test_target_down(tmp_path: Path) -> None:
    """Five minutes without a scrape, of anything but a sidecar."""
    cases = [
        Case(
            "fires",
            {metric("up", **THEIRS): [*flat(1, 2), *flat(0, 10)]},
            {6: [], 8: [{**THEIRS, "severity": "ticket"}]},
            {
                "summary": "alertmanager at am can't be scraped",
                "description": "The scrape of am (alertmanager) fails: up is 0.",
            },
        ),
        Case("not while it is up", {metric("up", **MINE): flat(1, 10)}, {8: []}),
        Case("a sidecar has an alert of its own", {metric("up", job="metrics-sidecar"): flat(0, 10)}, {8: []}),
    ]
    check("TargetDown", cases, tmp_path)


def test_alerts_not_delivered(tmp_path: Path) -> None:
    """Notifications that fail for five minutes, on the way to Alertmanager or from it."""
    failed = metric("alertmanager_notifications_failed_total", **THEIRS, integration="webhook", reason="other")
    errors = metric("prometheus_notifications_errors_total", **MINE, alertmanager="http://am")
    cases = [
        Case(
            "fires for Alertmanager",
            {failed: phases((0, 2), (4, 18))},
            {6: [], 10: [{**THEIRS, "severity": "ticket"}]},
            {
                "summary": "Alerts reach nobody",
                "description": "alertmanager at am could not send 20 notifications in the last 5 minutes.",
            },
        ),
        Case("fires for Prometheus", {errors: phases((0, 2), (4, 18))}, {6: [], 10: [{**MINE, "severity": "ticket"}]}),
        Case("not for one that was tried again", {failed: phases((0, 2), (4, 0.25), (0, 18))}, {3: [], 7: [], 10: []}),
        Case("not for none", {failed: flat(3, 20), errors: flat(0, 20)}, {10: []}),
    ]
    check("AlertsNotDelivered", cases, tmp_path)


def test_rules_failing(tmp_path: Path) -> None:
    """Evaluations that fail for five minutes."""
    name = metric("prometheus_rule_evaluation_failures_total", **MINE, rule_group="g")
    cases = [
        Case(
            "fires",
            {name: phases((0, 2), (4, 18))},
            {6: [], 10: [{**MINE, "severity": "ticket"}]},
            {
                "summary": "Prometheus can't evaluate its rules",
                "description": "20 evaluations of rules failed in the last 5 minutes; alerts may be missing.",
            },
        ),
        Case("not for one", {name: phases((0, 2), (4, 0.25), (0, 18))}, {3: [], 7: [], 10: []}),
        Case("not for none", {name: flat(3, 20)}, {10: []}),
    ]
    check("RulesFailing", cases, tmp_path)
