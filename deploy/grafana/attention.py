"""What should not happen and did, in one list: a panel for each would be empty nearly always."""

from grafana_foundation_sdk.models import dashboard

from deploy.grafana import queries as q
from deploy.grafana.fields import ORANGE, RED
from deploy.grafana.tables import list_panel

OWN_REFUSALS = 'reason=~"connection_limit|defect"'

KINDS = (
    # counter, further matcher, what it is called, colour
    ("sidecar_records_missing_total", "", "Records missing", RED),
    ("invoker_records_dropped_total", "", "Records dropped", RED),
    ("sidecar_commit_failures_total", "", "Commits that failed", RED),
    ("invoker_accept_failures_total", "", "Connections of callers that waited for a file", RED),
    ("sidecar_accept_failures_total", "", "Connections to the sidecar that waited for a file", RED),
    ("invoker_requests_rejected_total", OWN_REFUSALS, "Requests refused for a limit or a defect", RED),
    ("sidecar_frames_rejected_total", "", "What workers sent, refused", ORANGE),
    ("sidecar_connections_refused_total", "", "Workers refused", ORANGE),
    ("sidecar_records_unread_total", 'fate="dropped"', "Records that the sidecar can't read, dropped", RED),
    ("sidecar_records_unread_total", 'fate="kept"', "Records that the sidecar can't read, set aside", ORANGE),
    ("sidecar_timestamps_clamped_total", "", "Records with impossible times", ORANGE),
    ("sidecar_clock_jumps_total", "", "Times that the clock was set", ORANGE),
    ("invoker_log_lines_dropped_total", "", "Log lines of the gateway dropped", ORANGE),
    ("sidecar_log_lines_dropped_total", "", "Log lines of the sidecar dropped", ORANGE),
)


def out_of_the_ordinary() -> dashboard.Panel:
    return list_panel(
        "Out of the Ordinary",
        "What was counted in the time range of what should not happen; empty is as it should be. What to do: "
        "deploy/RUNBOOK.md.",
        " or ".join(_row(counter, matcher, what) for counter, matcher, what, _ in KINDS),
        {"what": "What", "reason": "Reason", "instance": "Instance", "Value": "How many"},
        {what: color for _, _, what, color in KINDS},
        "Nothing reported",
    )


def _row(counter: str, matcher: str, what: str) -> str:
    """A series for each reason, if there were any, that says in a label what it is."""
    selector = q.series(counter, q.PAIR, matcher) if matcher else q.series(counter)
    return f'label_replace({q.count(selector, "instance, reason")} > 0, "what", "{what}", "", "")'
