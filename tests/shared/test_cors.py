"""Whose pages may call from a browser."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import click
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from shared.cors import allow_origins
from shared.errors import problem_middleware
from shared.origins import Origins

PAGE = "https://dashboard.example:8443"
OTHER = "https://evil.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-tag-team",
}

Ask = Callable[..., AbstractAsyncContextManager[aiohttp.ClientResponse]]


@asynccontextmanager
async def serving(origins: str) -> AsyncIterator[Ask]:
    async def ok(_request: web.Request) -> web.Response:
        return web.Response(text="ok", headers={"Vary": "Accept-Encoding"})

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write_eof()
        return response

    app = web.Application(middlewares=[problem_middleware])
    app.add_routes([web.get("/", ok), web.post("/", ok), web.get("/stream", stream)])
    allow_origins(app, origins)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:

            def ask(method: str, headers: Mapping[str, str], path: str = "/") -> aiohttp.client._RequestContextManager:
                return session.request(method, path, headers=headers)

            yield ask
    finally:
        await runner.cleanup()


def of_cors(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower().startswith("access-control-")}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 200), ("POST", "/", 200), ("GET", "/stream", 200), ("GET", "/no", 404)]
)
async def test_an_allowed_page_may_read_each_answer(method: str, path: str, status: int) -> None:
    """An error, too; and no cache gives it to another page."""
    async with serving(f"https://a.example,{PAGE}") as ask, ask(method, {"Origin": PAGE}, path) as answer:
        assert answer.status == status
        assert of_cors(answer.headers) == {
            "Access-Control-Allow-Origin": PAGE,
            "Access-Control-Expose-Headers": "*",
        }
        assert "Origin" in answer.headers.getall("Vary")


@pytest.mark.parametrize("headers", [{}, {"Origin": OTHER}, {"Origin": "null"}, {"Origin": f"{PAGE}.evil.example"}])
async def test_another_may_not(headers: dict[str, str]) -> None:
    """The answer is as it would be, and the browser keeps it from the page."""
    async with serving(PAGE) as ask, ask("GET", headers) as answer:
        assert (answer.status, of_cors(answer.headers)) == (200, {})
        assert "Origin" in answer.headers.getall("Vary")


async def test_a_preflight() -> None:
    """Tells which methods and headers are allowed, and for how long."""
    async with serving(PAGE) as ask, ask("OPTIONS", PREFLIGHT) as answer:
        assert answer.status == 204
        assert of_cors(answer.headers) == {
            "Access-Control-Allow-Origin": PAGE,
            "Access-Control-Allow-Methods": "GET, HEAD, POST",
            "Access-Control-Allow-Headers": "content-type,x-tag-team",
            "Access-Control-Max-Age": "600",
            "Access-Control-Expose-Headers": "*",
        }


@pytest.mark.parametrize(("origins", "origin"), [(PAGE, OTHER), ("", PAGE)])
async def test_a_preflight_of_another(origins: str, origin: str) -> None:
    """Is no method of the API."""
    async with serving(origins) as ask, ask("OPTIONS", {**PREFLIGHT, "Origin": origin}) as answer:
        assert (answer.status, of_cors(answer.headers)) == (405, {})


async def test_any_origin() -> None:
    """One answer for all."""
    async with serving("*") as ask, ask("GET", {"Origin": OTHER}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers.getall("Vary") == ["Accept-Encoding"]


async def test_without_the_setting_nothing_is_said() -> None:
    """Not even where a browser asks."""
    async with serving("") as ask, ask("GET", {"Origin": PAGE}) as answer:
        assert (answer.status, of_cors(answer.headers)) == (200, {})
        assert answer.headers.getall("Vary") == ["Accept-Encoding"]


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ""),
        ("*", "*"),
        (" HTTPS://A.example , http://[::1]:3000", "https://a.example,http://[::1]:3000"),
    ],
)
def test_the_setting(text: str, origins: str) -> None:
    """Origins are compared as browsers send them: in lower case."""
    assert Origins().convert(text, None, None) == origins


@pytest.mark.parametrize(
    "text",
    ["a.example", "https://a.example/", "https://a.example/x", "https://", "https://u@a.example", "null", "ftp://a",
     "https://a.example,", "https://a.example:443", "http://a:80", "https://a:x", "https://*.a.example?"],
)  # fmt: skip
def test_what_is_no_origin(text: str) -> None:
    """Could never be what a browser sends."""
    with pytest.raises(click.BadParameter, match=r" is not \* or origins such as https://"):
        Origins().convert(text, None, None)


async def test_headers_that_are_none_are_not_echoed() -> None:
    """What a preflight asks for comes back only if it is a list of names."""
    async with serving(PAGE) as ask:
        asked = {**PREFLIGHT, "Access-Control-Request-Headers": "a;b"}
        async with ask("OPTIONS", asked) as answer:
            assert answer.headers["Access-Control-Allow-Headers"] == ""
