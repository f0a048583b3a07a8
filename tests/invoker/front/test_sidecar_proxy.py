"""`/metrics` and `/metrics/*` asked of the gateway, with a sidecar of our own making behind it."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from invoker.routing.models import Models
from tests.invoker.conftest import Gateway, started
from tests.invoker.front.hostile import Connection, serving

PROBLEM = "application/problem+json"
TEXT = b"# TYPE sidecar_commits_total counter\nsidecar_commits_total 1\n"


class Sidecar:
    """Remembers what it was asked and answers all paths under /metrics."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.app = web.Application()
        self.app.router.add_route("*", "/metrics/problem", self._problem)
        self.app.router.add_route("*", "/metrics/zipped", self._zipped)
        self.app.router.add_route("*", "/metrics/streamed", self._streamed)
        self.app.router.add_route("*", "/metrics/moved", self._moved)
        self.app.router.add_route("*", "/{path:.*}", self._text)

    def _note(self, request: web.Request) -> None:
        self.asked.append((request.method, request.raw_path))
        self.headers.append(dict(request.headers))

    async def _text(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(body=TEXT, content_type="text/plain", headers={"ETag": '"1"'})

    async def _problem(self, _request: web.Request) -> web.Response:
        return web.Response(body=b'{"status":400}', status=400, content_type=PROBLEM)

    async def _zipped(self, _request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(TEXT), headers={"Content-Encoding": "gzip"})

    async def _streamed(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 1000)
        await response.write_eof()
        return response

    async def _moved(self, _request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture
async def gateway(sidecar: Sidecar) -> AsyncIterator[Gateway]:
    async with (
        TestServer(sidecar.app) as server,
        started(Gateway(Models({}, None), str(server.make_url("")))) as one,
    ):
        yield one


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics?name[]=a&name[]=b",
        "/metrics/history?model_id=gpt-3.5&limit=10",
        "/metrics/history?model_id=a%2Fb%26c%3Dd+e%25&since=2024-01-15T10:30:00%2B02:00",
        "/metrics/history?model_id=%F0%9F%98%80&empty=&flag",
        "/metrics/models/a%2Fb%20c%3F/x",
        "/metrics/..a/b..",
        "/metrics/",
    ],
)
async def test_the_sidecar_is_asked_the_same(gateway: Gateway, sidecar: Sidecar, path: str) -> None:
    """Path and query arrive as they were written, escapes and all."""
    reply = await gateway.request("GET", path)
    assert (reply.status, reply.body, reply.media_type) == (200, TEXT, "text/plain")
    assert sidecar.asked == [("GET", path)]


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/../x",
        "/metrics/..",
        "/metrics/.",
        "/metrics/./history",
        "/metrics/%2e%2e/healthz",
        "/metrics/%2E./healthz",
        "/metrics/..%2fhealthz",
        "/metrics/a/%2e%2e%2f%2e%2e/healthz",
        "/metrics/../../healthz",
    ],
)
async def test_no_dots_lead_out_of_metrics(gateway: Gateway, sidecar: Sidecar, path: str) -> None:
    """Dot segments, escaped or not, are nowhere: the sidecar isn't even asked."""
    reply = await gateway.request("GET", path)
    assert (reply.status, reply.media_type) == (404, PROBLEM)
    assert sidecar.asked == []


async def test_a_whole_url_as_target_asks_the_sidecar_only(gateway: Gateway, sidecar: Sidecar) -> None:
    """The host that a caller writes into its request line is not where the gateway goes."""
    async with serving(_fail) as elsewhere:
        reply = await gateway.request("GET", f"{elsewhere.url.removesuffix('/invoke')}/metrics?a=1")
        assert elsewhere.accepted == 0
    assert (reply.status, reply.body) == (200, TEXT)
    assert sidecar.asked == [("GET", "/metrics?a=1")]


async def _fail(_connection: Connection) -> None:
    raise AssertionError("nobody should connect here")


async def test_head(gateway: Gateway, sidecar: Sidecar) -> None:
    """HEAD has the headers of GET and no body."""
    reply = await gateway.request("HEAD", "/metrics")
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", str(len(TEXT)))
    assert sidecar.asked == [("HEAD", "/metrics")]


async def test_compressed_answers_pass_as_they_are(gateway: Gateway) -> None:
    """The gateway neither unpacks nor packs."""
    reply = await gateway.request("GET", "/metrics/zipped", Accept_Encoding="gzip")
    assert (reply.headers["Content-Encoding"], gzip.decompress(reply.body)) == ("gzip", TEXT)


async def test_a_long_answer_passes_in_pieces(gateway: Gateway) -> None:
    """An answer without a length arrives whole, and its end is seen."""
    reply = await gateway.request("GET", "/metrics/streamed")
    assert (reply.status, reply.body) == (200, b"x" * 100_000)


async def test_problems_and_redirects_are_the_sidecars(gateway: Gateway) -> None:
    """Status and type of the sidecar's answer are kept, and a redirect is the caller's to follow."""
    problem = await gateway.request("GET", "/metrics/problem")
    assert (problem.status, problem.media_type, problem.json) == (400, PROBLEM, {"status": 400})
    moved = await gateway.request("GET", "/metrics/moved")
    assert (moved.status, moved.headers["Location"]) == (307, "/elsewhere")


async def test_which_headers_are_passed_on(gateway: Gateway, sidecar: Sidecar) -> None:
    """Those that choose the answer's form reach the sidecar; a caller's credentials don't."""
    await gateway.request(
        "GET",
        "/metrics",
        Accept="application/openmetrics-text",
        If_None_Match='"1"',
        Cookie="session=1",
        Authorization="Bearer x",
        X_Forwarded_For="1.2.3.4",
    )
    (headers,) = sidecar.headers
    assert (headers["Accept"], headers["If-None-Match"]) == ("application/openmetrics-text", '"1"')
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "X-Forwarded-For"} & set(headers)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/history"])
async def test_without_a_sidecar_it_is_502(path: str) -> None:
    """A problem says that the sidecar gave no answer."""
    async with started(Gateway(Models({}, None), "http://127.0.0.1:1")) as gateway:
        reply = await gateway.request("GET", path)
        assert (reply.status, reply.media_type) == (502, PROBLEM)
        assert reply.json["type"] == "urn:problem:sidecar-unreachable"
        assert (await gateway.request("HEAD", path)).body == b""


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Len"])
async def test_a_sidecar_that_speaks_no_http_is_502(answer: bytes) -> None:
    """Whatever listens there instead of the sidecar is a bad gateway and not a defect of ours."""

    async def handle(connection: Connection) -> None:
        await connection.head()
        await connection.send(answer)

    async with (
        serving(handle) as server,
        started(Gateway(Models({}, None), server.url.removesuffix("/invoke"))) as gateway,
    ):
        reply = await gateway.request("GET", "/metrics")
        assert (reply.status, reply.media_type) == (502, PROBLEM)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_an_answer_that_breaks_off_stays_broken(answer: bytes) -> None:
    """A caller can tell that the answer isn't whole: no end is made up, no second head is written into it."""

    async def handle(connection: Connection) -> None:
        await connection.head()
        await connection.send(answer)
        await asyncio.sleep(0.01)

    async with (
        serving(handle) as server,
        started(Gateway(Models({}, None), server.url.removesuffix("/invoke"))) as gateway,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        received = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.count(b"HTTP/1.1") == 1
        assert not received.endswith(b"0\r\n\r\n")


async def test_a_caller_that_leaves_ends_the_question(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """The sidecar isn't left answering nobody, and the gateway serves on."""
    async with session.get(URL(f"{gateway.url}/metrics/streamed")) as response:
        await response.content.read(10)
        response.close()
    assert (await gateway.request("GET", "/metrics")).status == 200


async def test_the_problem_is_json(gateway: Gateway) -> None:
    """A problem's body can be read by a machine."""
    reply = await gateway.request("GET", "/metrics/../x")
    assert json.loads(reply.body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at /metrics/../x.",
    }
