"""Rows of "Model Invocation Metrics" about the gateway itself, and whether the figures are up to date."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import links
from deploy.grafana import queries as q
from deploy.grafana.fields import COUNT, NONE_SEEN, Field
from deploy.grafana.panels import Query, graph

OVERHEAD = q.series("invoker_overhead_seconds_bucket")


def gateway() -> list[dashboard.Panel]:
    rejected = q.series("invoker_requests_rejected_total")
    return [
        graph(
            "Gateway Overhead",
            "What the gateway itself added to the latency of invocations, without the model: 50, 95 and 99 of 100 were "
            "below. Of all models: the gateway doesn't count it by model.",
            [Query(q.quantile(share / 100, OVERHEAD), f"p{share}") for share in (50, 95, 99)],
            Field(units.Seconds, no_value=NONE_SEEN),
        ),
        graph(
            "Rejected Requests",
            "Requests per minute that were refused before any model was called, and so are no invocations.",
            [Query(q.per_minute(rejected, "reason"), "{{reason}}")],
            Field(units.RequestsPerMinute, no_value="None reported"),
            stacked=True,
        ),
        graph(
            "Gateway Connections",
            "Open connections of model callers, and gateway workers that report to a sidecar.",
            [
                Query(q.total(q.series("invoker_connections")), "connections of callers"),
                Query(q.total(q.series("invoker_workers_connected")), "workers"),
            ],
            COUNT,
        ),
    ]


def health() -> list[dashboard.Panel]:
    more = [links.to_dashboard("Sidecar health", "sidecar-health")]
    commit = q.series("sidecar_commit_seconds_bucket")
    return [
        graph(
            "Journal",
            "Size of the gateway workers' journals, by replica. It grows while the sidecar is away.",
            [Query(q.total(q.series("invoker_journal_bytes"), "instance"), "{{instance}}")],
            Field(units.BytesIEC),
            more,
        ),
        graph(
            "Records Waiting",
            "Finished invocations that are in no figure yet: in the outbox (journal, not acknowledged) and in the "
            "sidecar's queue.",
            [
                Query(q.total(q.series("invoker_records_waiting")), "outbox"),
                Query(q.total(q.series("sidecar_queue_records")), "sidecar's queue"),
            ],
            COUNT,
            more,
        ),
        graph(
            "Commit Latency",
            "How long the sidecar's commits took: 50 and 99 of 100 were faster.",
            [Query(q.quantile(share / 100, commit), f"p{share}") for share in (50, 99)],
            Field(units.Seconds, no_value="No commits reported"),
            more,
        ),
    ]
