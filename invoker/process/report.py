"""What a worker tells the sidecar of itself, beside its records."""

from collections.abc import Callable

from invoker.call.invocation import Invoker
from invoker.delivery.assignment import DROPPED
from invoker.front.listener import Connections
from invoker.journal.journal import Journal
from shared import logs
from shared.wire import Report

ACCEPTING = "invoker_accept_failures_total"
LOG_LINES_DROPPED = "invoker_log_lines_dropped_total"
OVERHEAD = "invoker_overhead_seconds"
REJECTED = "invoker_requests_rejected_total"


def worker_report(journal: Journal, invoker: Invoker, connections: Connections) -> Callable[[bool], Report]:
    """Makes a living worker's reports: all calls in flight if asked for, else those that changed."""

    def report(everything: bool) -> Report:
        return Report(
            invoker.in_flight.all() if everything else invoker.in_flight.changes(),
            {
                DROPPED: dict(journal.dropped),
                REJECTED: dict(connections.answering.rejected),
                OVERHEAD: invoker.overhead.report(),
                ACCEPTING: dict(connections.accepting.failures),
                LOG_LINES_DROPPED: {"not_read": logs.dropped()},
            },
            {
                "invoker_journal_bytes": float(journal.bytes_used),
                "invoker_records_waiting": float(journal.records_waiting),
                "invoker_connections": float(connections.count),
                "invoker_workers_connected": 1.0,
            },
        )

    return report
