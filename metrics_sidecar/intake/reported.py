"""Which of their own numbers gateway workers may report. Their socket is not trusted: all others are left out."""

ACCEPT_ERRORS = ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")

REPORTED_COUNTERS = {
    # name without `_total` → label, help, label values that are there at 0 from the start; the only counters of a
    # worker's report that are kept and exposed. A series that first shows at 1 looks to Prometheus like no increase.
    "invoker_accept_failures": (
        "reason",
        "Times that connections of model callers had to wait because no file was free for them",
        ACCEPT_ERRORS,
    ),
    "invoker_log_lines_dropped": (
        "reason",
        "Lines of the gateway's log that were dropped because nobody read them",
        ("not_read",),
    ),
    "invoker_records_dropped": (
        "reason",
        "Records that gateway workers dropped: no space for them, or the sidecar can't take them",
        ("disk_full", "journal_full", "refused"),
    ),
    "invoker_requests_rejected": (
        "reason",
        "Requests that gateway workers refused before any model was called",
        (
            "bodies_limit",
            "body_too_large",
            "connection_limit",
            "defect",
            "header_too_large",
            "incomplete_request",
            "invalid_body",
            "invalid_json",
            "invalid_request",
            "invalid_shape",
            "method_not_allowed",
            "not_found",
            "repeated_key",
            "request_timeout",
            "unknown_model",
            "unsupported_coding",
            "unsupported_media_type",
            "unsupported_transfer_coding",
        ),
    ),
}
OVERHEAD = "invoker_overhead_seconds"
OVERHEAD_HELP = "Latency that the gateway itself added to invocations, in seconds"
"""Reported like a counter, labelled by upper bounds; exposed as a histogram."""

REPORTED_GAUGES = {
    "invoker_journal_bytes": "Size of the journals of the connected gateway workers in bytes",
    "invoker_records_waiting": "Records in the journals of the connected workers, not yet acknowledged",
    "invoker_connections": "Open connections of model callers to the gateway",
    "invoker_workers_connected": "Gateway workers that are connected to the sidecar",
}
MAX_REPORTED_VALUES = 32
OTHER_VALUES = "__overflow__"
"""Stands for all label values of a counter after the first 32."""

Counters = dict[str, dict[str, int]]
"""Name (`…_total`) → label value → count, as producers report them."""


def known_counters(reported: Counters) -> Counters:
    """Those of the counters that may be kept."""
    return {
        name: values
        for name, values in reported.items()
        if name.removesuffix("_total") in REPORTED_COUNTERS or name == OVERHEAD
    }


def known_gauges(reported: dict[str, float]) -> dict[str, float]:
    """Those of the gauges that are exposed."""
    return {name: value for name, value in reported.items() if name in REPORTED_GAUGES}
