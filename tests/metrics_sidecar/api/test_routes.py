"""What holds for all routes, and health."""

from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from yarl import URL

from metrics_sidecar.api.routes import OPERATIONS
from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.parameters.filters import MAX_MODELS
from shared.addresses import bind, urls_of
from shared.serving import running, serving
from tests.metrics_sidecar.api.conftest import Client, FakeReader, make_app

PATHS = [operation.path.replace("{id}", "1") for operation in OPERATIONS] + [
    "/docs",
    "/openapi.json",
    "/docs/swagger-ui.css",
]


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_answered_without_a_body(client: Client, path: str) -> None:
    """With the status and type of the same GET."""
    head, get = await client.head(path), await client.get(path)
    assert (head.status, head.content_type) == (get.status, get.content_type) == (200, get.content_type)
    assert await head.read() == b""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(client: Client, path: str, method: str) -> None:
    """With what is allowed instead."""
    response = await client.request(method, path)
    assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/nothing", "/docs/swagger-ui.js", "/docs/../healthz/x"])
async def test_other_paths_are_not_found(client: Client, path: str) -> None:
    """As a problem."""
    response = await client.get(path)
    assert (response.status, response.content_type) == (404, "application/problem+json")


async def test_alive(client: Client) -> None:
    """The process answers."""
    response = await client.get("/healthz")
    assert (response.status, await response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("why", "status", "expected"),
    [
        ([], 200, {"status": "ready", "reasons": []}),
        (["disk full"], 503, {"status": "not_ready", "reasons": ["disk full"]}),
    ],
)
async def test_ready_or_why_not(
    client: Client, reasons: list[str], why: list[str], status: int, expected: dict[str, Any]
) -> None:
    """Asked anew each time; any reason makes it a 503."""
    reasons += why
    response = await client.get("/readyz")
    assert (response.status, await response.json()) == (status, expected)


async def test_all_operations_are_documented(client: Client) -> None:
    """The document that is served names every path of the table."""
    document = await (await client.get("/openapi.json")).json()
    assert document["info"]["title"] == "Metrics sidecar"
    assert [*document["paths"]] == [operation.path for operation in OPERATIONS]


async def test_the_longest_request_that_is_documented(reader: FakeReader) -> None:
    """As many models as may be named, with the longest names."""
    models = {f"{number:03}{'😀' * 253}" for number in range(MAX_MODELS)}
    query = urlencode([*(("model_id", model) for model in models), ("error_contains", "😀" * 256)])
    with bind("127.0.0.1", 0, "PORT")[0] as bound:
        async with (
            running(make_app(reader, []), 1.0) as runner,
            serving(runner, [bound]),
            aiohttp.ClientSession() as session,
            session.get(URL(f"{urls_of([bound])}/metrics/history?{query}", encoded=True)) as response,
        ):
            assert response.status == 200
    (asked,) = reader.asked
    assert isinstance(asked, HistoryQuery)
    assert {*asked.filter.models} == models
