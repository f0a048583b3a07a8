"""What a worker tells the sidecar of itself, beside its records."""

from collections.abc import Callable

from invoker.call.invocation import Invoker
from invoker.delivery.assignment import DROPPED
from invoker.delivery.reporting import Families, FamilySource, ReportSource
from invoker.front.listener import Connections
from invoker.journal.journal import Journal
from invoker.process.snapshot import Snapshot
from invoker.routing.limit_sums import LimitSums
from shared import logs
from shared.wire import Report

ACCEPTING = "invoker_accept_failures_total"
LOG_LINES_DROPPED = "invoker_log_lines_dropped_total"
OVERHEAD = "invoker_overhead_seconds"
REJECTED = "invoker_requests_rejected_total"
RETRIES, RETRIES_DENIED = "invoker_retries_total", "invoker_retries_denied_total"


def worker_report(
    journal: Journal, invoker: Invoker, connections: Connections, configured: Callable[[], dict[str, float]]
) -> ReportSource:
    """Makes a living worker's reports: all calls in flight if asked for, else those that changed. `configured`: what is
    to be told of the models file."""

    def report(everything: bool) -> Report:
        return Report(
            invoker.in_flight.all() if everything else invoker.in_flight.changes(),
            {
                DROPPED: dict(journal.dropped),
                REJECTED: dict(connections.answering.rejected),
                OVERHEAD: invoker.overhead.report(),
                ACCEPTING: dict(connections.accepting.failures),
                LOG_LINES_DROPPED: {"not_read": logs.dropped()},
                RETRIES: dict(invoker.retries.made),
                RETRIES_DENIED: dict(invoker.retries.denied),
            },
            {
                "invoker_journal_bytes": float(journal.bytes_used),
                "invoker_records_waiting": float(journal.records_waiting),
                "invoker_connections": float(connections.count),
                "invoker_workers_connected": 1.0,
                **configured(),
            },
        )

    return report


def worker_families(invoker: Invoker) -> FamilySource:
    """Makes what a living worker tells by label."""
    limits = LimitSums()

    def families() -> Families:
        models, upstreams = invoker.models, invoker.upstreams
        return Families(
            upstreams.counted(models) | limits.counted(invoker.admission.limited),
            upstreams.measured(models) | limits.measured(models),
        )

    return families


def of_configuration(snapshot: Snapshot) -> dict[str, float]:
    """What is told of the models file, in the words that Prometheus has for its own."""
    tables = [(name, model) for _, name, model in snapshot.models.tables()]
    return {
        "invoker_config_last_reload_successful": float(not snapshot.refused),
        "invoker_config_last_reload_success_timestamp_seconds": snapshot.loaded_us / 1_000_000,
        "invoker_config_models": float(sum(name is not None for name, _ in tables)),
        "invoker_config_upstreams": float(sum(len(model.group.members) for _, model in tables)),
    }
