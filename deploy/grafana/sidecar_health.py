"""The dashboard "Sidecar health": whether the figures are whole, and what keeping them costs."""

from grafana_foundation_sdk.models import dashboard, units

from deploy.grafana import annotations, links, overview, variables
from deploy.grafana import queries as q
from deploy.grafana.attention import out_of_the_ordinary
from deploy.grafana.fields import COUNT, GREEN, NONE_IS_GOOD, ORANGE, RED, Field, Limits, red_from
from deploy.grafana.limits import DISK_FREE_PAGE_PERCENT, DISK_FREE_TICKET_PERCENT, LOOP_LAG_S
from deploy.grafana.page import Line, Row, make_dashboard
from deploy.grafana.panels import Query, graph, stat_panel

UID = "sidecar-health"

INSTANCE = "{{instance}}"
COMMITTED = q.series("sidecar_records_committed_total")
MISSING = q.series("sidecar_records_missing_total")
DROPPED = q.series("invoker_records_dropped_total")
LAG = q.series("sidecar_event_loop_lag_seconds_bucket")
DISK_FREE = q.series("sidecar_disk_free_bytes")
DISK_SIZE = q.series("sidecar_disk_size_bytes")
DISK_FREE_PERCENT = f"100 * {DISK_FREE} / {DISK_SIZE}"

NONE_WANTED = Field(units.LocaleFormat, NONE_IS_GOOD, decimals=0)
DISK_LIMITS = Limits(RED, ((DISK_FREE_PAGE_PERCENT, ORANGE), (DISK_FREE_TICKET_PERCENT, GREEN)))


def make_sidecar_health() -> dashboard.Dashboard:
    return make_dashboard(
        uid=UID,
        title="Sidecar health",
        description="The metrics sidecars: what comes in, what is committed, what was lost, and what it costs.",
        variables=[variables.data_source(), variables.job(), variables.instance(), variables.gateway_url()],
        annotations=[annotations.pages(), annotations.restarts()],
        links=[
            links.reconcile(),
            links.to_dashboard("Model Invocation Metrics", "model-invocation-metrics"),
        ],
        rows=[
            Row("Overview", [Line(4, [overview.alerts(), overview.sidecars_down(), *whole()])]),
            Row("What needs a look", [Line(8, [overview.firing_alerts(), out_of_the_ordinary()])]),
            Row("Ingest", [Line(8, ingest()), Line(8, waiting())]),
            Row("Losses and refusals", [Line(8, losses())]),
            Row("Process", [Line(8, process())]),
            Row("Disk and labels", [Line(8, disk())]),
            Row("Scrapes", [Line(8, scrapes())]),
        ],
    )


def whole() -> list[dashboard.Panel]:
    workers = q.series("sidecar_producers_connected")
    return [
        stat_panel(
            "Sidecars without Gateway",
            "Sidecars that no gateway worker is connected to. One is a page, after 2 minutes.",
            f"count({workers} == 0) or 0 * count({workers})",
            NONE_WANTED,
        ),
        stat_panel(
            "Missing",
            "Records of the time range that were lost in holes of a sequence. One is a page.",
            q.increase_of_new(MISSING),
            NONE_WANTED,
            [links.reconcile()],
        ),
        stat_panel(
            "Dropped",
            "Records of the time range that gateway workers dropped, their journal being full. One is a page.",
            q.count(DROPPED),
            NONE_WANTED,
        ),
        stat_panel(
            "Disk Free",
            f"Of the file system with the least left. Orange below {DISK_FREE_TICKET_PERCENT:g} %, red below "
            f"{DISK_FREE_PAGE_PERCENT:g} %, where alerts fire.",
            f"min({DISK_FREE_PERCENT})",
            Field(units.Percent, DISK_LIMITS, decimals=1, max=100),
        ),
    ]


def ingest() -> list[dashboard.Panel]:
    commits = q.series("sidecar_commits_total")
    failures = q.series("sidecar_commit_failures_total")
    commit_seconds = q.series("sidecar_commit_seconds_bucket")
    return [
        graph(
            "Ingest",
            "Records committed per second, by replica.",
            [Query(q.rate(COMMITTED, "instance"), INSTANCE)],
            Field(units.RecordsPerSecond),
            stacked=True,
        ),
        graph(
            "Commits",
            "Transactions per second, and those that failed, to be tried again. Each failure is worth a look.",
            [
                Query(q.rate(commits, "instance"), INSTANCE),
                Query(q.rate(failures, "instance"), f"failed on {INSTANCE}"),
            ],
            Field(units.OpsPerSecond, no_value="No commits reported"),
        ),
        graph(
            "Commit Latency",
            "How long commits took: 50, 95 and 99 of 100 were faster.",
            [Query(q.quantile(share / 100, commit_seconds), f"p{share}") for share in (50, 95, 99)],
            Field(units.Seconds, no_value="No commits reported"),
        ),
    ]


def waiting() -> list[dashboard.Panel]:
    return [
        graph(
            "Queue",
            "Records received by the sidecar that wait for a commit.",
            [Query(q.total(q.series("sidecar_queue_records"), "instance"), INSTANCE)],
            COUNT,
        ),
        graph(
            "Outbox",
            "Records in the gateway workers' journals that no sidecar has acknowledged. An alert fires if they grow.",
            [Query(q.total(q.series("invoker_records_waiting"), "instance"), INSTANCE)],
            COUNT,
        ),
        graph(
            "Journals",
            "Size of the gateway workers' journals.",
            [Query(q.total(q.series("invoker_journal_bytes"), "instance"), INSTANCE)],
            Field(units.BytesIEC),
        ),
    ]


def losses() -> list[dashboard.Panel]:
    rejected = q.series("sidecar_frames_rejected_total")
    refused = q.series("sidecar_connections_refused_total")
    return [
        graph(
            "Duplicates",
            "Records per second that came again and were not counted again: what a lost acknowledgement costs.",
            [Query(q.rate(q.series("sidecar_records_duplicate_total"), "instance"), INSTANCE)],
            Field(units.RecordsPerSecond),
        ),
        graph(
            "Missing and Dropped",
            "Records per second that are in no figure: lost in holes of a sequence, or dropped for want of space.",
            [
                Query(q.rate(MISSING, "instance"), f"missing on {INSTANCE}"),
                Query(q.rate(DROPPED, "instance, reason"), f"dropped on {INSTANCE}: {{{{reason}}}}"),
            ],
            Field(units.RecordsPerSecond, no_value="None reported"),
        ),
        graph(
            "Rejected Frames",
            "Connections closed per minute because of what a producer sent or did not send, or because there were too "
            "many.",
            [
                Query(q.per_minute(rejected, "instance, reason"), f"{INSTANCE}: {{{{reason}}}}"),
                Query(q.per_minute(refused, "instance"), f"{INSTANCE}: too many"),
            ],
            Field(units.CountsPerMinute),
        ),
        graph(
            "Connections",
            "Gateway workers on the sidecar's socket.",
            [Query(q.total(q.series("sidecar_producers_connected"), "instance"), INSTANCE)],
            COUNT,
        ),
    ]


def process() -> list[dashboard.Panel]:
    return [
        graph(
            "Event Loop Lag",
            f"99 of 100 waits of the sidecar's event loop were shorter. The line is at {LOOP_LAG_S:g} s, where an "
            "alert fires after 10 minutes.",
            [Query(q.quantile(0.99, LAG, "instance"), INSTANCE)],
            Field(units.Seconds, red_from(LOOP_LAG_S)),
        ),
        graph(
            "CPU",
            "CPU seconds per second; 100 % is one core. The sidecar is one process.",
            [Query(q.rate(q.series("process_cpu_seconds_total"), "instance"), INSTANCE)],
            Field(units.PercentUnit),
        ),
        graph(
            "Memory",
            "Resident memory.",
            [Query(q.total(q.series("process_resident_memory_bytes"), "instance"), INSTANCE)],
            Field(units.BytesIEC),
        ),
        graph(
            "File Descriptors",
            "Share of the open files that the process may have.",
            [Query(f"{q.series('process_open_fds')} / {q.series('process_max_fds')}", INSTANCE)],
            Field(units.PercentUnit),
        ),
    ]


def disk() -> list[dashboard.Panel]:
    overflow = q.series("model_invocations_total", q.PAIR, 'model_id="__overflow__"')
    return [
        graph(
            "Ledger",
            "Size of history.db and its write-ahead log.",
            [Query(q.total(q.series("sidecar_history_bytes"), "instance"), INSTANCE)],
            Field(units.BytesIEC),
        ),
        graph(
            "Disk Free over Time",
            "Share of the data directory's file system that is free. The lines are where alerts fire.",
            [Query(DISK_FREE_PERCENT, INSTANCE)],
            Field(units.Percent, DISK_LIMITS, max=100),
            low_is_worse=True,
        ),
        graph(
            "Labels",
            "Models with a label of their own.",
            [Query(q.total(q.series("sidecar_models_labelled"), "instance"), INSTANCE)],
            COUNT,
        ),
        graph(
            "Overflow",
            "Invocations per minute of the models beyond the cap on labels, counted together as __overflow__.",
            [Query(q.per_minute(overflow, "instance"), INSTANCE)],
            Field(units.RequestsPerMinute, no_value="No overflow reported"),
        ),
    ]


def scrapes() -> list[dashboard.Panel]:
    return [
        graph(
            "Scrape Duration",
            "How long Prometheus waited for a sidecar's metrics.",
            [Query(q.series("scrape_duration_seconds"), INSTANCE)],
            Field(units.Seconds, no_value="No scrapes reported"),
        ),
        graph(
            "Samples per Scrape",
            "Samples of one scrape. Above the job's sample_limit the scrape fails as a whole.",
            [Query(q.series("scrape_samples_scraped"), INSTANCE)],
            Field(units.LocaleFormat, decimals=0, no_value="No scrapes reported"),
        ),
    ]
