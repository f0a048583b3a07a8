"""Errors are RFC 9457 problems, whoever raised them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from shared.errors import problem_middleware, status_problem
from shared.problems import InvalidParameterError

Client = TestClient[web.Request, web.Application]
MakeClient = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture
async def client(aiohttp_client: MakeClient) -> Client:
    """A server whose paths fail, each in its own way."""

    async def own_problem(_request: web.Request) -> web.Response:
        raise status_problem(503, "Not now.", {"Retry-After": "1"})

    async def parameter(request: web.Request) -> web.Response:
        raise InvalidParameterError("limit", request.query["limit"], "an integer")

    async def too_large(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def moved(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    async def defect(_request: web.Request) -> web.Response:
        raise RuntimeError("the password is hunter2")

    async def defect_in_the_middle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        raise RuntimeError("too late")

    app = web.Application(middlewares=[problem_middleware], client_max_size=10)
    app.add_routes(
        [
            web.get("/problem", own_problem),
            web.get("/parameter", parameter),
            web.post("/body", too_large),
            web.get("/moved", moved),
            web.get("/defect", defect),
            web.get("/middle", defect_in_the_middle),
        ]
    )
    return await aiohttp_client(app)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        (
            "GET",
            "/problem",
            {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "Not now."},
        ),
        (
            "GET",
            "/parameter?limit=x",
            {
                "type": "urn:problem:invalid-parameter",
                "title": "Invalid parameter",
                "status": 400,
                "detail": "limit is 'x'; allowed: an integer.",
                "parameter": "limit",
                "value": "x",
                "allowed": "an integer",
            },
        ),
        (
            "GET",
            "/nowhere",
            {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "There is nothing at /nowhere.",
            },
        ),
        (
            "PUT",
            "/problem",
            {
                "type": "about:blank",
                "title": "Method Not Allowed",
                "status": 405,
                "detail": "PUT is not allowed here; allowed: GET, HEAD.",
                "allowed": "GET, HEAD",
            },
        ),
    ],
)
async def test_an_error_is_a_problem(client: Client, method: str, path: str, expected: dict[str, Any]) -> None:
    """Status, media type and members are those of the error that was raised."""
    response = await client.request(method, path)
    assert response.status == expected["status"]
    assert response.content_type == "application/problem+json"
    assert await response.json() == expected


async def test_headers_of_an_error_are_kept(client: Client) -> None:
    """`Allow` and `Retry-After` tell a client what to do next."""
    assert (await client.put("/problem")).headers["Allow"] == "GET,HEAD"
    assert (await client.get("/problem")).headers["Retry-After"] == "1"


async def test_a_body_beyond_the_limit_is_a_problem(client: Client) -> None:
    """aiohttp's own 413 has the form of all others, and its detail."""
    response = await client.post("/body", data=b"x" * 100)
    problem = await response.json()
    assert (response.status, response.content_type) == (413, "application/problem+json")
    assert "10" in problem["detail"]


async def test_a_redirect_is_no_error(client: Client) -> None:
    """It passes through as aiohttp made it."""
    response = await client.get("/moved", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


async def test_a_long_value_is_clipped(client: Client) -> None:
    """What a caller sent is echoed in at most 128 characters."""
    problem = await (await client.get("/parameter", params={"limit": "x" * 4000})).json()
    assert problem["value"] == "x" * 127 + "…"


async def test_a_defect_gives_nothing_away_and_is_logged_once(client: Client) -> None:
    """The caller sees a 500; the exception is for the log."""
    with capture_logs() as logged:
        response = await client.get("/defect")
    assert response.status == 500
    assert "hunter2" not in await response.text()
    assert [(event["event"], event["path"]) for event in logged] == [("request.failed", "/defect")]


async def test_an_answer_that_has_begun_is_cut_off(client: Client) -> None:
    """A second status line inside a body would look like data."""
    response = await client.get("/middle")
    with pytest.raises(Exception, match="payload"):
        await response.read()
