"""`GET /metrics/history`: single invocations, filtered, a page at a time."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.api.answers import json_answer, json_answer_of, milliseconds, store_problems
from metrics_sidecar.api.cursor import Cursor, decode_cursor, encode_cursor, fingerprint
from metrics_sidecar.api.sidecar import SIDECAR
from metrics_sidecar.history.queries import HistoryFilter, HistoryPage, HistoryQuery, HistoryRow, Order, Position
from metrics_sidecar.history.shown import Column, Dollars, dollars, shown_columns
from metrics_sidecar.parameters.decoding import NoParameters, allowed_values, decode_path, decode_query
from metrics_sidecar.parameters.filters import FilterParameters, to_filter
from shared.clock import format_timestamp
from shared.errors import status_problem
from shared.problems import InvalidParameterError
from shared.record import FIELDS, MAX_COUNT

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


class InvocationId(msgspec.Struct, frozen=True):
    """One finished invocation. Sizes: elements of an array, characters of a string, otherwise bytes."""

    id: Annotated[
        int, Meta(description="Rises with each commit. A whole number, to be read as 64 bits: it may exceed 2⁵³.")
    ]


def invocation_type(columns: Sequence[Column]) -> Any:
    """With a member for each column."""
    members = [(column.name, _type(column)) for column in columns]
    return msgspec.defstruct(
        "Invocation", members, bases=(InvocationId,), frozen=True, namespace={"__doc__": InvocationId.__doc__}
    )


def _type(column: Column) -> Any:
    if column.is_success:
        return bool
    told, type_ = column.field.told, column.field.type
    match told.unit:
        case "timestamp_us":
            return Annotated[str, Meta(description=told.help, extra_json_schema={"format": "date-time"})]
        case "us":
            type_ = Annotated[float, Meta(ge=0)] | None if column.field.is_optional else Annotated[float, Meta(ge=0)]
        case "nano_usd":
            type_ = Dollars | None
    return Annotated[type_, Meta(description=told.help)]


def _reader(column: Column) -> Callable[[HistoryRow], Any]:
    """What a column shows of a row; made once, as there are a thousand rows on a page."""
    get = attrgetter(column.field.name)
    if column.is_success:
        return lambda row: row.error_type is None
    match column.field.told.unit:
        case "timestamp_us":
            return lambda row: format_timestamp(get(row))
        case "us":
            return lambda row: None if (value_us := get(row)) is None else milliseconds(value_us)
        case "nano_usd":
            return lambda row: None if (cost := get(row)) is None else dollars(cost)
    return get


COLUMNS = shown_columns(FIELDS)
Invocation = invocation_type(COLUMNS)
READERS = [_reader(column) for column in COLUMNS]
MEMBERS = 1 + len(COLUMNS)


class History(msgspec.Struct, frozen=True):
    """A page. `next_cursor` continues after its last row; it is null on the last page."""

    history: list[Invocation]  # type: ignore[valid-type] # made above
    total_count: Annotated[int, Meta(ge=0, description="All rows that the filters match, or at least so many.")]
    offset: Offset
    limit: Limit
    next_cursor: str | None
    total_count_is_exact: Annotated[
        bool, Meta(description="false only where counting by latency or error log would take long.")
    ]


async def history(request: web.Request) -> web.Response:
    query = to_query(decode_query(request.query.items(), HistoryParameters))
    with store_problems(remedy_for(query)):
        page = await request.app[SIDECAR].reader.page(query)
    return await json_answer_of(request, len(page.rows) * MEMBERS, lambda: to_history(query, page))


async def invocation(request: web.Request) -> web.Response:
    row_id = decode_path(request.match_info, InvocationPath).id
    decode_query(request.query.items(), NoParameters)
    with store_problems():
        row = await request.app[SIDECAR].reader.one(str(row_id))
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


def to_invocation(row: HistoryRow) -> InvocationId:
    """One row as the API shows it."""
    shown: InvocationId = Invocation(int(row.id), *(read(row) for read in READERS))
    return shown


INVOCATION_EXAMPLE = to_invocation(HistoryRow(id="1", **{field.name: field.told.example for field in FIELDS}))
EXAMPLE = History(
    history=[INVOCATION_EXAMPLE], total_count=1, offset=0, limit=10, next_cursor=None, total_count_is_exact=True
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
