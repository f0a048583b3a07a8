"""`GET /metrics/history`."""

from typing import Any

import pytest

from metrics_sidecar.api.cursor import encode_cursor
from metrics_sidecar.queries import HistoryPage, HistoryQuery, Order, Position
from shared.record import ErrorType
from tests.metrics_sidecar.api.conftest import FAILED_ROW, ROW, TIMESTAMP_US, Client, FakeQueries

PATH = "/metrics/history"
CURSOR = encode_cursor("desc", Position(5, 6))


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
            },
        ],
        "total_count": 2,
        "offset": 0,
        "limit": 10,
        "next_cursor": None,
    }


async def test_whole_milliseconds_have_no_fraction(client: Client) -> None:
    """`150`, as in the specification, and not `150.0`."""
    assert '"latency_ms":150,' in await (await client.get(PATH)).text()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, HistoryQuery()),
        ({"model_id": "gpt-3.5"}, HistoryQuery(model_id="gpt-3.5")),
        ({"model_id": "null"}, HistoryQuery(model_id="null")),
        ({"model_id": "模型 😀&=%"}, HistoryQuery(model_id="模型 😀&=%")),
        ({"status": "failure"}, HistoryQuery(status="failure")),
        ({"since": "1705314600"}, HistoryQuery(since_us=TIMESTAMP_US)),
        ({"since": "0", "until": "0"}, HistoryQuery(since_us=0, until_us=0)),
        (
            {"since": "2024-01-15T12:30:00+02:00", "until": "2024-01-15T10:30:01Z"},
            HistoryQuery(since_us=TIMESTAMP_US, until_us=TIMESTAMP_US + 1_000_000),
        ),
        ({"limit": "1000", "offset": "10000000"}, HistoryQuery(limit=1000, offset=10_000_000)),
        ({"limit": "1"}, HistoryQuery(limit=1)),
        ({"order": "asc"}, HistoryQuery(order="asc")),
        ({"cursor": CURSOR}, HistoryQuery(after=Position(5, 6))),
        ({"cursor": CURSOR, "offset": "0", "order": "desc"}, HistoryQuery(after=Position(5, 6))),
    ],
)
async def test_parameters_are_what_the_store_is_asked(
    client: Client, queries: FakeQueries, params: dict[str, str], expected: HistoryQuery
) -> None:
    """Each parameter reaches the query as it was meant; what is not given has its default."""
    response = await client.get(PATH, params=params)
    assert response.status == 200
    assert queries.asked == [expected]


@pytest.mark.parametrize(
    ("query", "parameter", "value", "allowed"),
    [
        ("modelid=x", "modelid", "x", "model_id, status, since, until, limit, offset, cursor, order"),
        ("limit=1&limit=1", "limit", "1", "one value"),
        ("limit=0", "limit", "0", "an integer from 1 to 1000"),
        ("limit=1001", "limit", "1001", "an integer from 1 to 1000"),
        ("limit=ten", "limit", "ten", "an integer from 1 to 1000"),
        ("limit=1.5", "limit", "1.5", "an integer from 1 to 1000"),
        ("limit=", "limit", "", "an integer from 1 to 1000"),
        ("limit=null", "limit", "null", "an integer from 1 to 1000"),
        ("offset=-1", "offset", "-1", "an integer from 0 to 10000000"),
        ("offset=10000001", "offset", "10000001", "an integer from 0 to 10000000"),
        ("status=null", "status", "null", "failure or success"),
        ("status=FAILURE", "status", "FAILURE", "failure or success"),
        ("order=up", "order", "up", "asc or desc"),
        ("model_id=", "model_id", "", "1 to 256 characters, no control characters"),
        ("model_id=a%0A", "model_id", "a\n", "1 to 256 characters, no control characters"),
        (f"model_id={'x' * 257}", "model_id", "x" * 127 + "…", "1 to 256 characters, no control characters"),
        ("since=today", "since", "today", "RFC 3339 with a time zone, or epoch seconds"),
        ("until=2024-01-15T10:30:00", "until", "2024-01-15T10:30:00", "RFC 3339 with a time zone, or epoch seconds"),
        ("since=2&until=1", "since", "2", "a moment not after until, 1"),
        ("cursor=!", "cursor", "!", "its next_cursor"),
        ("cursor=AAAA", "cursor", "AAAA", "its next_cursor"),
        (f"cursor={CURSOR}&offset=1", "offset", "1", "0 or nothing beside a cursor"),
        (f"cursor={CURSOR}&order=asc", "order", "asc", "desc, as the cursor's page was"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: Client, queries: FakeQueries, query: str, parameter: str, value: str, allowed: str
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
    assert queries.asked == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_the_next_cursor_continues_the_page(client: Client, queries: FakeQueries, order: Order) -> None:
    """Sent back, it puts the next page after the last row of this one."""
    queries.page = HistoryPage([ROW], 2, Position(TIMESTAMP_US, 1))
    page = await (await client.get(PATH, params={"limit": "1", "order": order})).json()
    await client.get(PATH, params={"limit": "1", "order": order, "cursor": page["next_cursor"]})
    assert queries.asked[-1] == HistoryQuery(limit=1, order=order, after=Position(TIMESTAMP_US, 1))


async def test_every_type_of_error_can_be_shown(client: Client, queries: FakeQueries) -> None:
    """By its name, as documented."""
    rows = [type(FAILED_ROW)(1, "m", 0, 0, error_type, "", 0, 0, None) for error_type in ErrorType]
    queries.page = HistoryPage(rows, len(rows), None)
    page = await (await client.get(PATH)).json()
    assert [row["error_type"] for row in page["history"]] == [error_type.value for error_type in ErrorType]


async def test_a_store_that_fails_is_a_503(client: Client, queries: FakeQueries) -> None:
    """With the store's reason, and with the time after which to ask again."""
    queries.break_down()
    response = await client.get(PATH)
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert (await response.json())["detail"] == "The history can't be read just now: disk I/O error"
