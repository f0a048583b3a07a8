"""`GET /metrics/history`: single invocations, filtered, a page at a time."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import json_answer, json_answer_of, milliseconds, store_problems
from metrics_sidecar.api.cursor import Cursor, decode_cursor, encode_cursor, fingerprint
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.queries import HistoryFilter, HistoryPage, HistoryQuery, HistoryRow, Order, Position
from metrics_sidecar.parameters.decoding import NoParameters, allowed_values, decode_path, decode_query
from metrics_sidecar.parameters.filters import FilterParameters, to_filter
from shared.clock import format_timestamp
from shared.errors import status_problem
from shared.problems import InvalidParameterError
from shared.record import MAX_COUNT, ErrorWord, TraceId

MAX_LIMIT = 1000
MAX_OFFSET = 10_000_000

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many rows at most.")]
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="How many rows to skip; a cursor is faster.")]


class HistoryParameters(FilterParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked of the history."""

    limit: Limit = 100
    offset: Offset = 0
    cursor: (
        Annotated[
            str,
            Meta(
                max_length=64,
                pattern="^[A-Za-z0-9_-]+\\Z",
                description="Where to go on, with the same filters and order and without an offset: the next_cursor "
                "of an earlier page.",
            ),
        ]
        | UnsetType
    ) = UNSET
    order: Annotated[Order, Meta(description="Newest first (desc) or oldest first (asc).")] = "desc"


class InvocationPath(msgspec.Struct, frozen=True):
    """Which invocation."""

    id: Annotated[int, Meta(ge=1, le=MAX_COUNT, description="Its `id` in the history.")]


class Invocation(msgspec.Struct, frozen=True):
    """One finished invocation. Sizes: elements of an array, characters of a string, otherwise bytes."""

    id: Annotated[
        int, Meta(description="Rises with each commit. A whole number, to be read as 64 bits: it may exceed 2⁵³.")
    ]
    model_id: str
    timestamp: Annotated[str, Meta(description="When it was accepted.", extra_json_schema={"format": "date-time"})]
    success: bool
    latency_ms: Annotated[float, Meta(ge=0)]
    error_log: Annotated[str, Meta(description="Why it failed; empty for a success.")]
    input_size: Annotated[int, Meta(ge=0)]
    output_size: Annotated[int, Meta(ge=0)]
    error_type: Annotated[ErrorWord | None, Meta(description="null for a success.")]
    trace_id: Annotated[TraceId | None, Meta(description="From the caller's `traceparent`; null without one.")]


FIELDS = len(Invocation.__struct_fields__)


class History(msgspec.Struct, frozen=True):
    """A page. `next_cursor` continues after its last row; it is null on the last page."""

    history: list[Invocation]
    total_count: Annotated[int, Meta(ge=0, description="All rows that the filters match, or at least so many.")]
    offset: Offset
    limit: Limit
    next_cursor: str | None
    total_count_is_exact: Annotated[
        bool, Meta(description="false only where counting by latency or error log would take long.")
    ]


INVOCATION_EXAMPLE = Invocation(1, "gpt-3.5", "2024-01-15T10:30:00Z", True, 150, "", 5, 5, None, None)
EXAMPLE = History(
    history=[INVOCATION_EXAMPLE], total_count=1, offset=0, limit=10, next_cursor=None, total_count_is_exact=True
)


async def history(request: web.Request) -> web.Response:
    query = to_query(decode_query(request.query.items(), HistoryParameters))
    with store_problems(remedy_for(query)):
        page = await request.app[SIDECAR].queries.history(query)
    return await json_answer_of(request, len(page.rows) * FIELDS, lambda: to_history(query, page))


async def invocation(request: web.Request) -> web.Response:
    row_id = decode_path(request.match_info, InvocationPath).id
    decode_query(request.query.items(), NoParameters)
    with store_problems():
        row = await request.app[SIDECAR].queries.invocation(row_id)
    if row is None:
        raise status_problem(404, f"There is no invocation {row_id}, or none any more.")
    return json_answer(to_invocation(row))


def to_query(parameters: HistoryParameters) -> HistoryQuery:
    """What the store is asked. A 400 problem where the parameters contradict each other."""
    wanted = to_filter(parameters)
    return HistoryQuery(
        filter=wanted,
        limit=parameters.limit,
        offset=parameters.offset,
        after=_after(parameters, wanted),
        order=parameters.order,
    )


def remedy_for(query: HistoryQuery) -> str:
    """What to change about a query that takes too long."""
    if query.offset:
        return "Go on with the cursor of the last page instead of an offset."
    wanted = query.filter
    missing = [name for name, bound in (("since", wanted.since_us), ("until", wanted.until_us)) if bound is None]
    if missing:
        return f"Add {' and '.join(missing)}."
    if not (wanted.models or wanted.prefixes):
        return "Add a model_id, or choose a shorter time range."
    return "Choose a shorter time range."


def to_history(query: HistoryQuery, page: HistoryPage) -> History:
    """The page as the API shows it."""
    return History(
        history=[to_invocation(row) for row in page.rows],
        total_count=page.total_count,
        offset=query.offset,
        limit=query.limit,
        next_cursor=encode_cursor(Cursor(query.order, fingerprint(query.filter), page.next)) if page.next else None,
        total_count_is_exact=page.total_count_is_exact,
    )


def to_invocation(row: HistoryRow) -> Invocation:
    """One row as the API shows it."""
    return Invocation(
        id=row.id,
        model_id=row.model_id,
        timestamp=format_timestamp(row.timestamp_us),
        success=row.error_type is None,
        latency_ms=milliseconds(row.latency_us),
        error_log=row.error_log,
        input_size=row.input_size,
        output_size=row.output_size,
        error_type=row.error_type,
        trace_id=row.trace_id,
    )


def _after(parameters: HistoryParameters, wanted: HistoryFilter) -> Position | None:
    text = parameters.cursor
    if text is UNSET:
        return None
    if parameters.offset:
        raise InvalidParameterError("offset", str(parameters.offset), "0 or nothing beside a cursor")
    try:
        cursor = decode_cursor(text)
    except ValueError:
        raise InvalidParameterError("cursor", text, allowed_values(HistoryParameters, "cursor")) from None
    if cursor.order != parameters.order:
        raise InvalidParameterError("order", parameters.order, f"{cursor.order}, as the cursor's page was")
    if cursor.fingerprint != fingerprint(wanted):
        raise InvalidParameterError("cursor", text, "a next_cursor of a page with the same filters")
    return cursor.position
