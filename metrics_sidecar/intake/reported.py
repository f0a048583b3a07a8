"""Which of their own numbers gateway workers may report. Their socket is not trusted: all others are left out."""

from typing import NamedTuple

from metrics_sidecar.intake.families import Merge, is_reported

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
    "invoker_retries": (
        "reason",
        "Further attempts that were made: nothing could be received, or there was no room",
        ("busy", "connect"),
    ),
    "invoker_retries_denied": (
        "reason",
        "Further attempts that were not made, as the retry budget was spent",
        ("busy", "connect"),
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


class Measured(NamedTuple):
    """`merge`: how the numbers of several workers become one."""

    help: str
    merge: Merge = "sum"


REPORTED_GAUGES = {
    "invoker_journal_bytes": Measured("Size of the journals of the connected gateway workers in bytes"),
    "invoker_records_waiting": Measured("Records in the journals of the connected workers, not yet acknowledged"),
    "invoker_connections": Measured("Open connections of model callers to the gateway"),
    "invoker_workers_connected": Measured("Gateway workers that are connected to the sidecar"),
    "invoker_config_last_reload_successful": Measured(
        "Whether the models file, as it is now, is what the gateway goes by: 1, or 0", "min"
    ),
    "invoker_config_last_reload_success_timestamp_seconds": Measured(
        "When the models file that the gateway goes by was read, in seconds since 1970", "min"
    ),
    "invoker_config_models": Measured("Tables of models, and of beginnings of their ids, that the gateway has", "max"),
    "invoker_config_upstreams": Measured("Upstreams of all of these tables", "max"),
}
MAX_REPORTED_VALUES = 32
"""The others together are `__overflow__`, too."""

Counters = dict[str, dict[str, int]]
"""Name (`…_total`) → label value → count, as producers report them."""


def known_counters(reported: Counters) -> Counters:
    """Those of the counters that may be kept."""
    return {
        name: values
        for name, values in reported.items()
        if name.removesuffix("_total") in REPORTED_COUNTERS or name == OVERHEAD or is_reported(name)
    }


def known_gauges(reported: dict[str, float]) -> dict[str, float]:
    """Those of the gauges that are exposed."""
    return {name: value for name, value in reported.items() if name in REPORTED_GAUGES}
