"""`GET /metrics/history`."""

from typing import Any

import pytest

from metrics_sidecar.api.cursor import Cursor, encode_cursor, fingerprint
from metrics_sidecar.history.queries import (
    BusyError,
    HistoryFilter,
    HistoryPage,
    HistoryQuery,
    Order,
    Position,
    QueryTooLongError,
    Term,
)
from metrics_sidecar.parameters.filters import MAX_ERROR_TYPES
from shared.clock import TIMESTAMPS
from shared.problems import MAX_ECHOED_CHARS
from shared.record import MAX_TIMESTAMP_US, ErrorType, Record
from tests.metrics_sidecar.api.conftest import ROW, TIMESTAMP_US, Client, FakeReader, row_of

PATH = "/metrics/history"
TAGS = (
    "`tag.NAME=value`, at most 8, NAME 1 to 64 lower-case letters, digits, - or _, value 1 to 64 characters, no "
    "control characters"
)
CURSOR = encode_cursor(Cursor("desc", fingerprint(HistoryFilter()), Position(5, "6")))

LATER = dict.fromkeys(
    (
        *("protocol", "operation", "streamed", "upstream", "status_code", "attempts", "fallback_from"),
        *("time_to_first_token_ms", "time_per_output_token_ms"),
        *("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "tags"),
        "queue_ms",
    )
)
"""What rows of before don't say."""


def filtered(**given: Any) -> HistoryQuery:
    return HistoryQuery(filter=HistoryFilter(**given))


async def test_an_answer_is_a_page_of_rows(client: Client) -> None:
    """The example of the specification, and what later work added: cursor and type of error."""
    response = await client.get(PATH, params={"limit": "10"})
    assert (response.status, response.content_type) == (200, "application/json")
    assert await response.json() == {
        "history": [
            {
                "id": 2,
                "model_id": "gpt-3.5",
                "timestamp": "2024-01-15T10:30:00.000001Z",
                "success": False,
                "latency_ms": 1.5,
                "error_log": "No answer in 30 s",
                "input_size": 5,
                "output_size": 0,
                "error_type": "timeout",
                "trace_id": None,
                "request_id": None,
                **LATER,
            },
            {
                "id": 1,
                "model_id": "gpt-3.5",
                "timestamp": "2024-01-15T10:30:00Z",
                "success": True,
                "latency_ms": 150,
                "error_log": "",
                "input_size": 5,
                "output_size": 5,
                "error_type": None,
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "request_id": "r-1",
                **LATER,
            },
        ],
        "total_count": 2,
        "offset": 0,
        "limit": 10,
        "next_cursor": None,
        "total_count_is_exact": True,
    }


async def test_whole_milliseconds_have_no_fraction(client: Client) -> None:
    """`150`, as in the specification, and not `150.0`."""
    assert '"latency_ms":150,' in await (await client.get(PATH)).text()


ALLOWED = (
    "model_id, status, error_type, since, until, tag.NAME, min_latency_ms, max_latency_ms, error_contains, "
    "request_id, protocol, operation, streamed, upstream, status_code, min_time_to_first_token_ms, "
    "max_time_to_first_token_ms, min_queue_ms, max_queue_ms, limit, offset, cursor, order"
)
TYPES = MAX_ERROR_TYPES
ERROR_TYPES = f"{', '.join(ErrorType)}, or what gateways of a later release have recorded; may be repeated"
FAILURES_ONLY = "failure or nothing beside error_type and error_contains"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, HistoryQuery()),
        ({"model_id": "gpt-3.5"}, filtered(models=("gpt-3.5",))),
        ({"model_id": "null"}, filtered(models=("null",))),
        ({"model_id": "模型 😀&=%"}, filtered(models=("模型 😀&=%",))),
        ({"status": "failure"}, filtered(status="failure")),
        ({"since": "1705314600"}, filtered(since_us=TIMESTAMP_US)),
        ({"since": "0", "until": "0"}, filtered(since_us=0, until_us=0)),
        (
            {"since": "0001-01-01T00:00:00+23:59", "until": "9999-12-31T23:59:59.999999Z"},
            filtered(since_us=-62_135_683_140_000_000, until_us=MAX_TIMESTAMP_US),
        ),
        (
            {"since": "2024-01-15T12:30:00+02:00", "until": "2024-01-15T10:30:01Z"},
            filtered(since_us=TIMESTAMP_US, until_us=TIMESTAMP_US + 1_000_000),
        ),
        ({"model_id": "gpt-*"}, filtered(prefixes=("gpt-",))),
        ({"error_type": "timeout"}, filtered(error_types=(ErrorType.TIMEOUT,))),
        ({"min_latency_ms": "1.0015"}, filtered(terms=(Term("latency_us", "least", 1002),))),
        (
            {"min_latency_ms": "0", "max_latency_ms": "4503599627370.497"},
            filtered(terms=(Term("latency_us", "least", 0), Term("latency_us", "most", 2**52 + 1))),
        ),
        ({"streamed": "true"}, filtered(terms=(Term("streamed", "equal", 1),))),
        ({"streamed": "false"}, filtered(terms=(Term("streamed", "equal", 0),))),
        (
            {"protocol": "openai", "operation": "chat", "status_code": "429"},
            filtered(
                terms=(
                    Term("protocol", "equal", "openai"),
                    Term("operation", "equal", "chat"),
                    Term("status_code", "equal", 429),
                )
            ),
        ),
        ({"request_id": "null"}, filtered(terms=(Term("request_id", "equal", "null"),))),
        ({"error_contains": "No 100 % [a*?]"}, filtered(terms=(Term("error_log", "contains", "No 100 % [a*?]"),))),
        ({"limit": "1000", "offset": "10000000"}, HistoryQuery(limit=1000, offset=10_000_000)),
        ({"limit": "1"}, HistoryQuery(limit=1)),
        ({"order": "asc"}, HistoryQuery(order="asc")),
        ({"cursor": CURSOR}, HistoryQuery(after=Position(5, "6"))),
        ({"cursor": CURSOR, "offset": "0", "order": "desc"}, HistoryQuery(after=Position(5, "6"))),
    ],
)
async def test_parameters_are_what_the_store_is_asked(
    client: Client, reader: FakeReader, params: dict[str, str], expected: HistoryQuery
) -> None:
    """Each parameter reaches the query as it was meant; what is not given has its default."""
    response = await client.get(PATH, params=params)
    assert response.status == 200
    assert reader.asked == [expected]


@pytest.mark.parametrize(
    ("query", "parameter", "value", "allowed"),
    [
        (
            "modelid=x",
            "modelid",
            "x",
            ALLOWED,
        ),
        ("limit=1&limit=1", "limit", "1", "one value"),
        ("limit=0", "limit", "0", "an integer from 1 to 1000"),
        ("limit=1001", "limit", "1001", "an integer from 1 to 1000"),
        ("limit=ten", "limit", "ten", "an integer from 1 to 1000"),
        ("limit=1.5", "limit", "1.5", "an integer from 1 to 1000"),
        ("limit=", "limit", "", "an integer from 1 to 1000"),
        ("limit=null", "limit", "null", "an integer from 1 to 1000"),
        ("offset=-1", "offset", "-1", "an integer from 0 to 10000000"),
        ("offset=10000001", "offset", "10000001", "an integer from 0 to 10000000"),
        ("streamed=maybe", "streamed", "maybe", "true or false"),
        ("status_code=99", "status_code", "99", "an integer from 100 to 599"),
        ("status=null", "status", "null", "failure or success"),
        ("status=FAILURE", "status", "FAILURE", "failure or success"),
        ("status=success&error_type=timeout", "status", "success", FAILURES_ONLY),
        ("status=success&error_contains=x", "status", "success", FAILURES_ONLY),
        ("error_type=timeout&error_type=Late", "error_type", "Late", ERROR_TYPES),
        (
            f"error_type={'&error_type='.join(['timeout'] * (TYPES + 1))}",
            "error_type",
            f"{TYPES + 1}",
            f"at most {TYPES} values",
        ),
        (f"model_id={'&model_id='.join(['m'] * 101)}", "model_id", "101", "at most 100 values"),
        ("min_latency_ms=fast", "min_latency_ms", "fast", "a number from 0 to 9007199254740"),
        ("max_latency_ms=-1", "max_latency_ms", "-1", "a number from 0 to 9007199254740"),
        ("min_latency_ms=2.5&max_latency_ms=2", "min_latency_ms", "2.5", "no more than max_latency_ms, 2"),
        ("request_id=", "request_id", "", "1 to 128 visible ASCII characters"),
        ("request_id=a%20b", "request_id", "a b", "1 to 128 visible ASCII characters"),
        (
            f"request_id={'x' * 129}",
            "request_id",
            f"{'x' * (MAX_ECHOED_CHARS - 1)}…",
            "1 to 128 visible ASCII characters",
        ),
        ("error_contains=", "error_contains", "", "1 to 256 characters"),
        ("tag.=x", "tag.", "x", TAGS),
        ("tag.Team=x", "tag.Team", "x", TAGS),
        ("tag.a.b=x", "tag.a.b", "x", TAGS),
        (f"tag.{'n' * 65}=x", f"tag.{'n' * 65}", "x", TAGS),
        ("tag.team=", "tag.team", "", TAGS),
        ("tag.team=a%0A", "tag.team", "a\n", TAGS),
        (f"tag.team={'x' * 65}", "tag.team", "x" * 65, TAGS),
        ("&".join(f"tag.t{number}=x" for number in range(9)), "tag.t8", "x", TAGS),
        ("tag.team=a&tag.team=b", "tag.team", "a", "one value"),
        ("order=up", "order", "up", "asc or desc"),
        ("model_id=", "model_id", "", "1 to 256 characters, no control characters"),
        ("model_id=a%0A", "model_id", "a\n", "1 to 256 characters, no control characters"),
        (f"model_id={'x' * 257}", "model_id", "x" * 127 + "…", "1 to 256 characters, no control characters"),
        ("since=today", "since", "today", TIMESTAMPS),
        ("until=2024-01-15T10:30:00", "until", "2024-01-15T10:30:00", TIMESTAMPS),
        ("since=-1", "since", "-1", TIMESTAMPS),
        ("since=20240115T103000Z", "since", "20240115T103000Z", TIMESTAMPS),
        ("until=9999-12-31T23:59:59-01:00", "until", "9999-12-31T23:59:59-01:00", TIMESTAMPS),
        ("since=2&until=1", "since", "2", "a moment not after until, 1"),
        ("cursor=!", "cursor", "!", "the next_cursor of an earlier page"),
        ("cursor=AAAA", "cursor", "AAAA", "the next_cursor of an earlier page"),
        (f"cursor={CURSOR}&offset=1", "offset", "1", "0 or nothing beside a cursor"),
        (f"cursor={CURSOR}&order=asc", "order", "asc", "desc, as the cursor's page was"),
        (f"cursor={CURSOR}&status=failure", "cursor", CURSOR, "a next_cursor of a page with the same filters"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: Client, reader: FakeReader, query: str, parameter: str, value: str, allowed: str
) -> None:
    """The problem says which parameter, its value and what is allowed; the store isn't asked."""
    response = await client.get(f"{PATH}?{query}")
    problem: dict[str, Any] = await response.json()
    assert (response.status, response.content_type) == (400, "application/problem+json")
    assert problem["type"] == "urn:problem:invalid-parameter"
    assert {name: problem[name] for name in ("parameter", "value", "allowed")} == {
        "parameter": parameter,
        "value": value,
        "allowed": allowed,
    }
    assert reader.asked == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_the_next_cursor_continues_the_page(client: Client, reader: FakeReader, order: Order) -> None:
    """Sent back, it puts the next page after the last row of this one."""
    reader.found = HistoryPage([ROW], 2, Position(TIMESTAMP_US, "1"))
    page = await (await client.get(PATH, params={"limit": "1", "order": order})).json()
    await client.get(PATH, params={"limit": "1", "order": order, "cursor": page["next_cursor"]})
    assert reader.asked[-1] == HistoryQuery(limit=1, order=order, after=Position(TIMESTAMP_US, "1"))


async def test_no_id_is_longer_than_an_id_can_be(client: Client) -> None:
    """Its escapes are not counted."""
    for pattern in ("a" * 257, "a" * 257 + "*", "a" * 256 + r"\*"):
        answer = await client.get(PATH, params={"model_id": pattern})
        assert (answer.status, (await answer.json())["allowed"]) == (400, "1 to 256 characters, no control characters")


async def test_repeated_values_are_alternatives(client: Client, reader: FakeReader) -> None:
    """Models and types of error may be given several times, in any order: a cursor fits all of these."""
    await client.get(f"{PATH}?model_id=b&error_type=timeout&model_id=a&error_type=connect&model_id=b")
    assert reader.asked == [filtered(models=("a", "b"), error_types=(ErrorType.CONNECT, ErrorType.TIMEOUT))]


async def test_tags_are_asked_for_by_their_names(client: Client, reader: FakeReader) -> None:
    """All of them, in any order; only the first = is none of a value's. A map itself is no parameter."""
    await client.get(f"{PATH}?tag.team=search&tag.a-1=b%3Dc")
    assert reader.asked == [filtered(terms=(Term("tags", "has", "a-1=b=c"), Term("tags", "has", "team=search")))]
    for name in ("tag", "tags.team", "limit.team"):
        problem = await (await client.get(f"{PATH}?{name}=x")).json()
        assert (problem["parameter"], "tag.NAME" in problem["allowed"]) == (name, True)


async def test_a_count_that_is_a_lower_bound_says_so(client: Client, reader: FakeReader) -> None:
    """The number is shown, and that it is not all."""
    reader.found = HistoryPage([ROW], 7, None, total_count_is_exact=False)
    page = await (await client.get(PATH, params={"min_latency_ms": "1"})).json()
    assert (page["total_count"], page["total_count_is_exact"]) == (7, False)


async def test_one_invocation_by_its_id(client: Client, reader: FakeReader) -> None:
    """The same row as in a page."""
    (_, row) = (await (await client.get(PATH)).json())["history"]
    response = await client.get(f"{PATH}/1")
    assert (response.status, await response.json()) == (200, row)
    assert reader.asked[-1] == "1"


async def test_an_unknown_invocation_is_a_404(client: Client) -> None:
    """As a problem that says which."""
    response = await client.get(f"{PATH}/3")
    assert (response.status, response.content_type) == (404, "application/problem+json")
    assert (await response.json())["detail"] == "There is no invocation 3, or none any more."


@pytest.mark.parametrize(
    ("path", "parameter", "value", "allowed"),
    [
        ("one", "id", "one", "an integer from 1 to 9223372036854775807"),
        ("0", "id", "0", "an integer from 1 to 9223372036854775807"),
        ("9223372036854775808", "id", "9223372036854775808", "an integer from 1 to 9223372036854775807"),
        ("1?model_id=m", "model_id", "m", "none"),
    ],
)
async def test_a_wrong_id_is_named(client: Client, path: str, parameter: str, value: str, allowed: str) -> None:
    """As a wrong parameter is; and there are no parameters beside it."""
    response = await client.get(f"{PATH}/{path}")
    problem = await response.json()
    assert (response.status, problem["parameter"], problem["value"], problem["allowed"]) == (
        400,
        parameter,
        value,
        allowed,
    )


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("offset=1&since=1", "Go on with the cursor of the last page instead of an offset."),
        ("min_latency_ms=1", "Add since and until."),
        ("min_latency_ms=1&since=1", "Add until."),
        ("min_latency_ms=1&until=1&model_id=m", "Add since."),
        ("min_latency_ms=1&since=1&until=2", "Add a model_id, or choose a shorter time range."),
        ("min_latency_ms=1&since=1&until=2&model_id=m", "Choose a shorter time range."),
        ("min_latency_ms=1&since=1&until=2&model_id=m*", "Choose a shorter time range."),
    ],
)
async def test_a_query_that_took_too_long_is_a_503(client: Client, reader: FakeReader, query: str, remedy: str) -> None:
    """Its problem names the filter to add; there is no use in asking the same again."""
    reader.failure = QueryTooLongError("it took longer than 5 s")
    response = await client.get(f"{PATH}?{query}")
    problem = await response.json()
    assert (response.status, response.headers.get("Retry-After")) == (503, None)
    assert problem["type"] == "urn:problem:query-too-long"
    assert problem["detail"] == f"The query was ended: it took longer than 5 s. {remedy}"


async def test_a_query_whose_turn_did_not_come_is_a_503(client: Client, reader: FakeReader) -> None:
    """To be asked again, as it is."""
    reader.failure = BusyError("it had no turn within 5 s")
    response = await client.get(f"{PATH}?min_latency_ms=1")
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert (await response.json())["detail"] == "The history can't be read just now: it had no turn within 5 s"


async def test_every_type_of_error_can_be_shown(client: Client, reader: FakeReader) -> None:
    """By its name, as documented."""
    rows = [row_of(1, Record("m", 0, 0, error_type)) for error_type in ErrorType]
    reader.found = HistoryPage(rows, len(rows), None)
    page = await (await client.get(PATH)).json()
    assert [row["error_type"] for row in page["history"]] == [error_type.value for error_type in ErrorType]


async def test_a_store_that_fails_is_a_503(client: Client, reader: FakeReader) -> None:
    """With the store's reason, and with the time after which to ask again."""
    reader.break_down()
    response = await client.get(PATH)
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert (await response.json())["detail"] == "The history can't be read just now: disk I/O error"
