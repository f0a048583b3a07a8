"""Both servers' HTTP: what is no right request, and who leaves, costs an answer and no line in the log."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.addresses import bind
from shared.errors import problem_middleware
from shared.serving import running, serving
from tests.malformed import CHUNKED, GET, HOST, MALFORMED

REQUEST = GET.replace(b"{target}", b"/echo") + HOST


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[tuple[str, int]]:
    """The address of a server."""
    with bind("127.0.0.1", 0, "X_PORT")[0] as bound:
        async with running(app, 1.0) as runner, serving(runner, [bound]):
            yield bound.getsockname()


def echoing(begun: asyncio.Event) -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        begun.set()
        return web.Response(body=await request.read())

    app = web.Application(middlewares=[problem_middleware])
    app.router.add_route("*", "/echo", echo)
    return app


async def ask(address: tuple[str, int], data: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


@pytest.mark.parametrize(("data", "status"), MALFORMED)
async def test_what_is_no_right_request(data: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """A problem in HTTP/1.1 says so in one short sentence, and the connection ends; nothing is logged."""
    caplog.set_level(logging.DEBUG)
    async with served(echoing(asyncio.Event())) as address:
        head, _, body = (await ask(address, data.replace(b"{target}", b"/echo"))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert 0 < len(problem["detail"]) < 130
    assert "\n" not in problem["detail"]
    assert [record for record in caplog.records if record.name != "asyncio"] == []


@pytest.mark.parametrize("data", [b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", REQUEST + b"\r\n"])
async def test_what_precedes_no_request_is_answered(data: bytes) -> None:
    """Though both came at once."""
    async with served(echoing(asyncio.Event())) as address:
        answers = await ask(address, data + b"nonsense\r\n\r\n")
    assert answers.count(b"HTTP/1.1 ") == 2
    assert answers.count(b"HTTP/1.1 400 ") == 1
    assert not answers.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("lines", [b"\r\n" * 1000, b"\n", b"\r\n\r\n", b""])
async def test_empty_lines_before_a_request(lines: bytes) -> None:
    """As some send after a body; they are left out, all at once, and are no request that ends before its time."""
    data = GET.replace(b"{target}", b"/nothing") + HOST + b"\r\n"
    async with served(echoing(asyncio.Event())) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(lines + data + lines + data + lines)
        writer.write_eof()
        answers = await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert (answers.count(b"HTTP/1.1 "), answers.count(b"HTTP/1.1 404 ")) == (2, 2)


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nhelloX\r\n", b"5\nhello\r\n", b"0x5\r\nhello\r\n", b"\r\n"]
)
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_body_that_cannot_be_read(chunk: bytes, at_once: bool) -> None:
    """Its request is told so, whenever the broken chunk comes."""
    begun = asyncio.Event()
    async with served(echoing(begun)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST + CHUNKED + b"\r\n" + (chunk if at_once else b""))
        if not at_once:
            await asyncio.wait_for(begun.wait(), 30)
            writer.write(chunk)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "body", [CHUNKED + b"\r\n5\r\nhel", CHUNKED + b"\r\n", b"Content-Length: 9\r\n\r\n{", b"Content-Length: 9\r\n\r\n"]
)
async def test_who_leaves_leaves_no_line(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of a body, by a reset or not."""
    caplog.set_level(logging.DEBUG)
    begun = asyncio.Event()
    async with served(echoing(begun)) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST + body)
        await asyncio.wait_for(begun.wait(), 30)
        writer.transport.abort()
        assert (await ask(address, REQUEST + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert [record for record in caplog.records if record.name != "asyncio"] == []
