"""`GET /metrics/history`: single invocations, filtered, a page at a time."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api import QUERIES
from metrics_sidecar.api.answers import large_json_answer, milliseconds, store_problems
from metrics_sidecar.api.cursor import decode_cursor, encode_cursor
from metrics_sidecar.api.parameters import ModelFilter, allowed_values, decode_query
from metrics_sidecar.queries import HistoryPage, HistoryQuery, HistoryRow, Order, Position, Status
from shared.clock import format_timestamp, parse_timestamp
from shared.errors import invalid_parameter
from shared.record import ErrorType, TraceId

MAX_LIMIT = 1000
MAX_OFFSET = 10_000_000

TIMESTAMP_SCHEMA = {"anyOf": [{"format": "date-time"}, {"pattern": r"^[0-9]{1,11}(\.[0-9]{1,6})?$"}]}

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many rows at most.")]
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="How many rows to skip; a cursor is faster.")]


class HistoryParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be asked of the history."""

    model_id: ModelFilter | UnsetType = UNSET
    status: Annotated[Status, Meta(description="Only successes or only failures.")] | UnsetType = UNSET
    since: (
        Annotated[
            str,
            Meta(
                description="Not before this moment: RFC 3339 with a time zone, or epoch seconds.",
                examples=["2024-01-15T10:30:00Z"],
                extra_json_schema=TIMESTAMP_SCHEMA,
            ),
        ]
        | UnsetType
    ) = UNSET
    until: (
        Annotated[
            str,
            Meta(
                description="Before this moment: RFC 3339 with a time zone, or epoch seconds.",
                examples=["2024-01-16T00:00:00Z"],
                extra_json_schema=TIMESTAMP_SCHEMA,
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: Limit = 100
    offset: Offset = 0
    cursor: (
        Annotated[
            str,
            Meta(
                max_length=64,
                pattern="^[A-Za-z0-9_-]+\\Z",
                description="Go on after an earlier page of the same order, without an offset: its next_cursor.",
            ),
        ]
        | UnsetType
    ) = UNSET
    order: Annotated[Order, Meta(description="Newest first (desc) or oldest first (asc).")] = "desc"


class Invocation(msgspec.Struct, frozen=True):
    """One finished invocation. Sizes: elements of an array, characters of a string, otherwise bytes."""

    id: int
    model_id: str
    timestamp: Annotated[str, Meta(description="When it was accepted.", extra_json_schema={"format": "date-time"})]
    success: bool
    latency_ms: Annotated[float, Meta(ge=0)]
    error_log: Annotated[str, Meta(description="Why it failed; empty for a success.")]
    input_size: Annotated[int, Meta(ge=0)]
    output_size: Annotated[int, Meta(ge=0)]
    error_type: Annotated[ErrorType | None, Meta(description="null for a success.")]
    trace_id: Annotated[TraceId | None, Meta(description="From the caller's `traceparent`; null without one.")]


class History(msgspec.Struct, frozen=True):
    """A page. `next_cursor` continues after its last row; it is null on the last page."""

    history: list[Invocation]
    total_count: Annotated[int, Meta(ge=0, description="All rows that the filters match.")]
    offset: Offset
    limit: Limit
    next_cursor: str | None


EXAMPLE = History(
    history=[Invocation(1, "gpt-3.5", "2024-01-15T10:30:00Z", True, 150, "", 5, 5, None, None)],
    total_count=1,
    offset=0,
    limit=10,
    next_cursor=None,
)


async def history(request: web.Request) -> web.Response:
    query = to_query(decode_query(request.query, HistoryParameters))
    with store_problems():
        page = await request.app[QUERIES].history(query)
    return await large_json_answer(lambda: to_history(query, page))


def to_query(parameters: HistoryParameters) -> HistoryQuery:
    """What the store is asked. A 400 problem where the parameters contradict each other."""
    since_us = _timestamp("since", parameters.since)
    until_us = _timestamp("until", parameters.until)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise invalid_parameter("since", str(parameters.since), f"a moment not after until, {parameters.until}")
    return HistoryQuery(
        model_id=parameters.model_id or None,
        status=parameters.status or None,
        since_us=since_us,
        until_us=until_us,
        limit=parameters.limit,
        offset=parameters.offset,
        after=_after(parameters),
        order=parameters.order,
    )


def to_history(query: HistoryQuery, page: HistoryPage) -> History:
    """The page as the API shows it."""
    return History(
        history=[to_invocation(row) for row in page.rows],
        total_count=page.total_count,
        offset=query.offset,
        limit=query.limit,
        next_cursor=encode_cursor(query.order, page.next) if page.next else None,
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


def _timestamp(name: str, text: str | UnsetType) -> int | None:
    if text is UNSET:
        return None
    try:
        return parse_timestamp(text)
    except ValueError:
        raise invalid_parameter(name, text, allowed_values(HistoryParameters, name)) from None


def _after(parameters: HistoryParameters) -> Position | None:
    text = parameters.cursor
    if text is UNSET:
        return None
    if parameters.offset:
        raise invalid_parameter("offset", str(parameters.offset), "0 or nothing beside a cursor")
    try:
        order, position = decode_cursor(text)
    except ValueError:
        raise invalid_parameter("cursor", text, allowed_values(HistoryParameters, "cursor")) from None
    if order != parameters.order:
        raise invalid_parameter("order", parameters.order, f"{order}, as the cursor's page was")
    return position
