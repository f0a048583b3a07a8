"""The sidecar's HTTP routes: a table of operations and their handlers."""

from aiohttp import web
from aiohttp.typedefs import Handler

from metrics_sidecar.api import export as export_api
from metrics_sidecar.api import history as history_api
from metrics_sidecar.api import metrics as metrics_api
from metrics_sidecar.api import reconcile as reconcile_api
from metrics_sidecar.api import stats as stats_api
from metrics_sidecar.api import timeseries as timeseries_api
from metrics_sidecar.api.answers import QUERY_TOO_LONG
from metrics_sidecar.api.health import Health, healthz, readyz
from metrics_sidecar.api.sidecar import Readiness
from metrics_sidecar.files.formats import MEDIA_TYPES
from metrics_sidecar.history.reconcile import Reconciliation
from shared.docs import docs_routes
from shared.openapi import Answer, Operation, build_document, problem
from shared.problems import INVALID_PARAMETER, ProblemDetails

TITLE = "Metrics sidecar"
VERSION = "1.0.0"
DESCRIPTION = (
    "What happened to every invocation: history, statistics and Prometheus metrics, all read from one "
    "ledger. Errors are RFC 9457 problems."
)

BAD_PARAMETER = problem(
    400,
    "A parameter is unknown, given twice or not what is allowed.",
    ProblemDetails(
        INVALID_PARAMETER,
        "Invalid parameter",
        400,
        "limit is '0'; allowed: an integer from 1 to 1000.",
        "limit",
        "0",
        "an integer from 1 to 1000",
    ),
)
NO_STORE = problem(503, "The history can't be read just now.")
TOO_LONG = problem(
    503,
    "The history can't be read just now, the sidecar is busy, or the query took too long.",
    ProblemDetails(
        QUERY_TOO_LONG,
        "Query too long",
        503,
        "The query was ended: it took longer than 5 s. Add since and until.",
    ),
)

ROUTES: tuple[tuple[Operation, Handler], ...] = (
    (
        Operation(
            path="/metrics/history",
            operation_id="history",
            summary="Invocation history",
            description="Single invocations with filters, newest first. Pages by `cursor` take the same "
            "time at any depth, pages by `offset` do not. By models, status, error types and time a page is found "
            "at once; by latency or error log, rows are searched, for as long as the sidecar allows.",
            query=history_api.HistoryParameters,
            responses={
                200: Answer("A page of the history.", history_api.History, history_api.EXAMPLE),
                400: BAD_PARAMETER,
                503: TOO_LONG,
            },
            tags=["metrics"],
        ),
        history_api.history,
    ),
    (
        Operation(
            path="/metrics/history/{id}",
            operation_id="invocation",
            summary="One invocation",
            parts=history_api.InvocationPath,
            responses={
                200: Answer("It.", history_api.Invocation, history_api.INVOCATION_EXAMPLE),
                400: BAD_PARAMETER,
                404: problem(404, "There is no invocation of this id, or none any more."),
                503: NO_STORE,
            },
            tags=["metrics"],
        ),
        history_api.invocation,
    ),
    (
        Operation(
            path="/metrics/stats",
            operation_id="stats",
            summary="Success and failure statistics",
            description="Exact totals per model since the beginning, or of exactly the invocations of a window, then "
            "with percentiles (within 1 % of the exact value), rate, errors by type and sizes. Without `model_id` "
            "those of all models; models beyond the sidecar's cap are together under `__overflow__`.",
            query=stats_api.StatsParameters,
            responses={
                200: Answer("Statistics by model.", stats_api.Stats, stats_api.EXAMPLE),
                400: BAD_PARAMETER,
                503: TOO_LONG,
            },
            tags=["metrics"],
        ),
        stats_api.stats,
    ),
    (
        Operation(
            path="/metrics/timeseries",
            operation_id="timeseries",
            summary="A figure over time",
            description="One figure per step, of all models together, of those that are asked for, or of each. "
            f"An answer has at most {timeseries_api.MAX_POINTS:,} points.",
            query=timeseries_api.TimeseriesParameters,
            responses={
                200: Answer("The series.", timeseries_api.Timeseries, timeseries_api.EXAMPLE),
                400: BAD_PARAMETER,
                503: TOO_LONG,
            },
            tags=["metrics"],
        ),
        timeseries_api.timeseries,
    ),
    (
        Operation(
            path="/metrics/export",
            operation_id="export",
            summary="Invocations as a file",
            description="All invocations that the filters of the history match, in the order in which they were "
            "committed: those that are committed when the export begins and not removed before their turn. As "
            "NDJSON (the rows of the history, and the id of the store that they are from), CSV (safe to open in a "
            "spreadsheet) or Parquet; compressed with gzip where `Accept-Encoding` allows it.",
            query=export_api.ExportParameters,
            responses={
                200: Answer("The file.", dict.fromkeys(MEDIA_TYPES.values(), str), export_api.EXAMPLES),
                400: BAD_PARAMETER,
                501: problem(501, "Parquet is not installed here."),
                503: problem(503, "The history can't be read just now, or too many exports run."),
            },
            tags=["metrics"],
        ),
        export_api.export,
    ),
    (
        Operation(
            path="/metrics/reconcile",
            operation_id="reconcile",
            summary="Do the books agree?",
            description="Counts everything once more from the rows, and compares it with the totals, with the "
            "sequences accepted from each producer and with the counters of `/metrics`. `consistent` says "
            "whether these agree; records that never came are told beside it, under `missing`. Takes about two "
            "seconds per million rows, and no timeout ends it as it does queries; one check runs at a time, and ends "
            "when its caller leaves.",
            responses={
                200: Answer("What was compared, and the differences.", Reconciliation, reconcile_api.EXAMPLE),
                503: NO_STORE,
            },
            tags=["metrics"],
        ),
        reconcile_api.reconcile,
    ),
    (
        Operation(
            path="/metrics",
            operation_id="metrics",
            summary="Prometheus metrics",
            description="Prometheus text 0.0.4, or OpenMetrics 1.0.0, with exemplars, where `Accept` prefers it.",
            responses={200: Answer("All metrics.", dict.fromkeys(metrics_api.EXAMPLES, str), metrics_api.EXAMPLES)},
            tags=["metrics"],
        ),
        metrics_api.metrics,
    ),
    (
        Operation(
            path="/healthz",
            operation_id="healthz",
            summary="Alive",
            responses={200: Answer("The process answers.", Health, Health())},
            tags=["health"],
        ),
        healthz,
    ),
    (
        Operation(
            path="/readyz",
            operation_id="readyz",
            summary="Ready",
            responses={
                200: Answer(
                    "Records are taken in and committed; the reasons tell what needs a look.",
                    Readiness,
                    Readiness("ready", []),
                ),
                503: Answer("They are not.", Readiness, Readiness("not_ready", ["the ledger can't commit: disk full"])),
            },
            tags=["health"],
        ),
        readyz,
    ),
)
OPERATIONS = tuple(operation for operation, _ in ROUTES)


def setup_routes(app: web.Application) -> None:
    """Add all routes, and the documents that describe them."""
    app.add_routes([web.get(operation.path, handler) for operation, handler in ROUTES])
    app.add_routes(docs_routes(build_document(TITLE, VERSION, DESCRIPTION, OPERATIONS, "history")))
