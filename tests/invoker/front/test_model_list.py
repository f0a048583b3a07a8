"""The models, as clients of both dialects ask for them."""

import dataclasses
from pathlib import Path

import pytest

from invoker.http.pieces import LARGE_BYTES, Pieces
from invoker.routing.credentials import credentials
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from invoker.upstream.pool import PooledUpstream
from invoker.upstream.port import UpstreamError
from shared.clock import SystemClock
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import Answer, Gate
from tests.invoker.front.hostile import Connection, http, serving

VERSION = {"anthropic_version": "2023-06-01"}
OPENAI = Model(single("http://o.test/v1?a=b", credentials("openai", "http://o.test/", key="s3cret")), 9.0)
ANTHROPIC = Model(single("http://a.test", credentials("anthropic", "http://a.test/", key="s3cret")), 9.0)


def models(*names: str, default: bool = True) -> Models:
    dialects = {
        protocol: Models(dict.fromkeys(names, one), one if default else None)
        for protocol, one in (("openai", OPENAI), ("anthropic", ANTHROPIC))
    }
    return Models({}, None, dialects=dialects)


async def test_those_of_the_models_file() -> None:
    """Listed, and each by its id, in the shape that a client of the dialect expects; nobody is asked."""
    async with started(Gateway(models("a", "org/b", default=False))) as gateway:
        listed = (await gateway.request("GET", "/v1/models")).json
        assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["a", "org/b"])
        assert {model["object"] for model in listed["data"]} == {"model"}
        listed = (await gateway.request("GET", "/v1/models?limit=2", b"", **VERSION)).json
        assert [model["id"] for model in listed["data"]] == ["a", "org/b"]
        assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "a", "org/b")
        for path in ("/v1/models/org/b", "/v1/models/org%2Fb"):
            assert (await gateway.request("GET", path)).json["object"] == "model"
            assert (await gateway.request("GET", path, b"", **VERSION)).json["type"] == "model"
        reply = await gateway.request("GET", "/v1/models/c", x_request_id="r-1")
        assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")
        assert reply.headers["x-request-id"] == "r-1"
        assert (await gateway.request("GET", "/v1/models/c", b"", **VERSION)).json["type"] == "error"
        assert gateway.upstream.posts == []


@pytest.mark.parametrize(
    ("headers", "path", "url", "key"),
    [
        ({}, "/v1/models?x=1", "http://o.test/v1/models?a=b&x=1", b"Authorization: Bearer s3cret"),
        ({}, "/v1/models/team%2Fx", "http://o.test/v1/models/team%2Fx?a=b", b"Authorization: Bearer s3cret"),
        (VERSION, "/v1/models?limit=2", "http://a.test/v1/models?limit=2", b"x-api-key: s3cret"),
    ],
)
async def test_those_of_the_upstream(headers: dict[str, str], path: str, url: str, key: bytes) -> None:
    """Its answer as it is, asked for with its own key; and no record."""
    body = Pieces([b"[" + b" " * LARGE_BYTES, b"]"])

    async def answer(_body: bytes) -> Answer:
        return 200, body, {b"content-type": b"application/json; x=y", b"x-kept": b"1", b"set-cookie": b"a"}

    async with started(Gateway(models())) as gateway:
        gateway.script = answer
        reply = await gateway.request("GET", path, b"", Authorization="Bearer theirs", x_api_key="theirs", **headers)
        assert (reply.status, len(reply.body), reply.headers["x-kept"]) == (200, len(body), "1")
        assert reply.headers["Content-Type"] == "application/json; x=y"
        assert "Set-Cookie" not in reply.headers
        assert (gateway.upstream.posts, gateway.upstream.methods) == ([(url, b"")], [b"GET"])
        (lines,) = gateway.upstream.headers
        assert key + b"\r\n" in lines
        assert b"theirs" not in lines
        assert gateway.journal.records == []


@pytest.mark.parametrize("headers", [{}, VERSION])
async def test_an_upstream_that_fails(headers: dict[str, str]) -> None:
    """Says so in the dialect's shape, and nothing of its key."""

    async def refuse(_body: bytes) -> Answer:
        return 401, b'{"error": "no such key: s3cret"}', {}

    async def fail(_body: bytes) -> Answer:
        raise UpstreamError(ErrorType.INVALID_RESPONSE, "it says s3cret")

    async with started(Gateway(models())) as gateway:
        gateway.script = refuse
        reply = await gateway.request("GET", "/v1/models", b"", **headers)
        assert (reply.status, reply.body) == (401, b'{"error": "no such key: ***"}')
        gateway.script = fail
        reply = await gateway.request("GET", "/v1/models", b"", **headers)
        assert (reply.status, reply.json["error"]["message"]) == (502, "it says ***")
        assert reply.json.get("type") == ("error" if headers else None)


async def test_an_upstream_that_does_not_answer() -> None:
    """Is waited for no longer than for a call."""
    slow = Models({}, None, dialects={"openai": Models({}, Model(single("http://o.test"), 0.01))})
    async with started(Gateway(slow)) as gateway:
        gateway.script = Gate()
        reply = await gateway.request("GET", "/v1/models")
        assert (reply.status, reply.json["error"]["message"]) == (
            504,
            "The upstream gave no whole answer within 0.01 s",
        )


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/v1/models/x/../../y"])
async def test_where_there_is_none(path: str) -> None:
    """No upstream, or none that may be asked so."""
    async with started(Gateway(models(default=".." in path))) as gateway:
        reply = await gateway.request("GET", path)
        assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")
        assert gateway.upstream.posts == []


async def test_an_upstream_on_a_unix_socket(tmp_path: Path) -> None:
    """As calls of its models do."""
    heads: list[bytes] = []

    async def answer(connection: Connection) -> None:
        heads.append(await connection.head())
        await connection.send(http(b'{"data": []}'))

    async with serving(answer, tmp_path / "model.sock") as server:
        model = Model(single(server.url.replace("/invoke", "/v1")), 9.0)
        gateway = Gateway(Models({}, None, dialects={"openai": Models({}, model)}))
        upstream = PooledUpstream(SystemClock(), 1000)
        gateway.worker = dataclasses.replace(gateway.worker, upstream=upstream)
        async with started(gateway):
            assert (await gateway.request("GET", "/v1/models")).json == {"data": []}
        await upstream.close()
    assert heads[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
