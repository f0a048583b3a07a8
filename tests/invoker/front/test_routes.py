"""The gateway's own routes over HTTP."""

import asyncio
import gzip
import json
import logging

import pytest

from shared.record import ErrorType
from tests.invoker.conftest import BODY_LIMIT, Gateway, until
from tests.invoker.fakes import Answer, Gate

BODY = b'{"worklet_input": {"model_id": "m", "input": [1, 2]}}'
JSON = "application/json"
PROBLEM = "application/problem+json"


def padded(size: int) -> bytes:
    """A valid request of exactly this size."""
    return BODY[:-2] + b', "pad": "' + b"x" * (size - len(BODY) - 11) + b'"}}'


def chunked(body: bytes, head: bytes = b"") -> bytes:
    start = b"POST /invoke HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    chunks = (body[place : place + 1000] for place in range(0, len(body), 1000))
    return start + head + b"\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


async def test_an_invocation(gateway: Gateway) -> None:
    """The upstream gets the caller's body, the caller the output, and one record is written."""
    reply = await gateway.request("POST", "/invoke", BODY, Content_Type=JSON)
    assert (reply.status, reply.media_type) == (200, JSON)
    assert reply.json == {"worklet_output": [6, 7], "success": True, "latency_ms": 0.0, "error_log": ""}
    assert [body for _, body in gateway.upstream.posts] == [BODY]
    assert [record.error_type for record in gateway.journal.records] == [None]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        "application/json ; x=y",
        "application/vnd.worklet+json",
        "application/vnd.worklet+json; v=1",
    ],
)
async def test_json_by_any_name(gateway: Gateway, content_type: str | None) -> None:
    """JSON may come with parameters, as a kind of JSON, or without a type."""
    headers = {} if content_type is None else {"Content_Type": content_type}
    assert (await gateway.request("POST", "/invoke", BODY, **headers)).status == 200


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "text/json", "multipart/form-data", "json", "+json"],
)
async def test_another_content_type_is_415(gateway: Gateway, content_type: str) -> None:
    """What isn't sent as JSON is refused, so that no web form of a foreign page can invoke a model."""
    reply = await gateway.request("POST", "/invoke", BODY, Content_Type=content_type)
    error_log = f"Content-Type {content_type!r} is not supported; send application/json"
    assert (reply.status, reply.json) == (
        415,
        {"worklet_output": None, "success": False, "latency_ms": 0.0, "error_log": error_log},
    )
    assert gateway.rejected == {"unsupported_media_type": 1}
    assert gateway.journal.records == []


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"[]", 422, "invalid_shape"),
        (b'{"worklet_input": {"model_id": "", "input": 1}}', 422, "invalid_shape"),
        (b'{"worklet_input": {"model_id": "other", "input": 1}}', 404, "unknown_model"),
    ],
)
async def test_a_bad_request_has_the_shape_of_an_answer(
    gateway: Gateway, body: bytes, status: int, reason: str
) -> None:
    """It is refused with a reason, counted by it, and is no invocation."""
    reply = await gateway.request("POST", "/invoke", body)
    answer = reply.json
    assert reply.status == status
    assert answer.pop("error_log") != ""
    assert answer == {"worklet_output": None, "success": False, "latency_ms": 0.0}
    assert gateway.rejected == {reason: 1}
    assert gateway.journal.records == []


@pytest.mark.parametrize(("size", "status"), [(BODY_LIMIT - 1, 200), (BODY_LIMIT, 200), (BODY_LIMIT + 1, 413)])
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_the_limit_of_a_body(gateway: Gateway, size: int, status: int, in_chunks: bool) -> None:
    """A body may be as large as the limit and not a byte larger, however it is sent."""
    body = padded(size)
    assert len(body) == size
    reply = await (gateway.raw(chunked(body)) if in_chunks else gateway.request("POST", "/invoke", body))
    assert reply.status == status
    if status == 413:
        assert reply.json["error_log"] == f"The body is larger than {BODY_LIMIT} bytes, the limit"
        assert gateway.rejected == {"body_too_large": 1}


async def test_a_body_that_is_much_too_large(gateway: Gateway) -> None:
    """The refusal reaches a caller that is still sending, and what it sends is not kept."""
    reply = await gateway.request("POST", "/invoke", padded(5_000_000))
    assert (reply.status, reply.json["success"]) == (413, False)


async def test_a_compressed_body_is_bounded_by_its_content(gateway: Gateway) -> None:
    """A small body that unpacks to a large one is as large as what it unpacks to."""
    small = await gateway.request("POST", "/invoke", gzip.compress(BODY), Content_Encoding="gzip")
    assert small.status == 200
    assert [body for _, body in gateway.upstream.posts] == [BODY]
    bomb = await gateway.request("POST", "/invoke", gzip.compress(padded(5_000_000)), Content_Encoding="gzip")
    assert bomb.status == 413


@pytest.mark.parametrize(
    "request_",
    [
        chunked(BODY).replace(b"\r\n0\r\n", b"\r\nzz\r\n"),
        chunked(b"")[:-5] + b"-5\r\nhello\r\n0\r\n\r\n",
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\nContent-Encoding: br\r\n\r\na",
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
)
async def test_a_broken_request_is_400(gateway: Gateway, request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What isn't HTTP is the caller's fault: 400, and nothing in the log."""
    caplog.set_level(logging.WARNING)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # as `logs.configure` sets it
    assert (await gateway.raw(request_)).status == 400
    assert caplog.messages == []
    assert gateway.journal.records == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/invoke", "POST"),
        ("HEAD", "/invoke", "POST"),
        ("PUT", "/invoke", "POST"),
        ("DELETE", "/invoke", "POST"),
        ("POST", "/metrics", "GET,HEAD"),
        ("DELETE", "/metrics/history", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
    ],
)
async def test_another_method_is_405(gateway: Gateway, method: str, path: str, allow: str) -> None:
    """The problem names what is allowed, as the Allow header does."""
    reply = await gateway.request(method, path)
    assert (reply.status, reply.media_type, reply.headers["Allow"]) == (405, PROBLEM, allow)
    if method != "HEAD":
        assert reply.json["status"] == 405


@pytest.mark.parametrize("path", ["/", "/nothing", "/invoke/", "/metricsx", "/docs/../docs", "/docs/nothing.js"])
async def test_another_path_is_404(gateway: Gateway, path: str) -> None:
    """A problem says that nothing is there."""
    reply = await gateway.request("GET", path)
    assert (reply.status, reply.media_type) == (404, PROBLEM)
    assert reply.json["title"] == "Not Found"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/healthz", JSON),
        ("/readyz", JSON),
        ("/openapi.json", JSON),
        ("/docs", "text/html"),
        ("/docs/swagger-ui.css", "text/css"),
    ],
)
async def test_what_there_is_to_get(gateway: Gateway, path: str, media_type: str) -> None:
    """Health, the API's document and its page are served by the gateway itself, to GET and HEAD."""
    got, head = await gateway.request("GET", path), await gateway.request("HEAD", path)
    assert (got.status, got.media_type) == (head.status, head.media_type) == (200, media_type)
    assert (bool(got.body), head.body) == (True, b"")


async def test_the_document_names_every_status_of_an_invocation(gateway: Gateway) -> None:
    """Callers can read what to expect."""
    document = (await gateway.request("GET", "/openapi.json")).json
    responses = document["paths"]["/invoke"]["post"]["responses"]
    assert sorted(responses) == ["200", "400", "404", "408", "413", "415", "422", "429", "500", "502", "503", "504"]
    assert json.dumps(document).count("CDN") == 0


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (429, b"7", "7"),
        (503, b"Fri, 28 Nov 2026 13:00:00 GMT", "Fri, 28 Nov 2026 13:00:00 GMT"),
        (503, b"-1", None),
        (429, b"1\r\nSet-Cookie: x=y", None),
        (429, b"", None),
        (429, b"9" * 10, None),
        (429, b"7, 7", None),
        (500, b"7", None),
    ],
)
async def test_a_busy_upstream_is_told_apart(
    gateway: Gateway, plain: bool, status: int, said: bytes, told: str | None
) -> None:
    """Its 429 and 503 reach the caller with a valid Retry-After, on both ways to the upstream, and are its failures."""

    async def busy(_body: bytes) -> Answer:
        return status, b"later", {b"retry-after": said}

    gateway.script = busy
    reply = await (gateway.request("POST", "/invoke", BODY) if plain else gateway.raw(chunked(BODY)))
    assert reply.status == (502 if status == 500 else status)
    assert reply.headers.get("Retry-After") == told
    assert "Set-Cookie" not in reply.headers
    assert (reply.media_type, reply.json["error_log"]) == (JSON, f"upstream answered {status}: later")
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.UPSTREAM_STATUS]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_defect_is_answered_in_the_same_shape(
    gateway: Gateway, plain: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an invocation meets it, which is recorded then, or what is around it: 500, and no problem document."""
    caplog.set_level(logging.CRITICAL)

    async def failing(*_: object) -> Answer:
        raise RuntimeError("a bug")

    gateway.script = failing
    request = chunked(BODY) if not plain else b"POST /invoke HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    if plain:
        request += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    reply = await gateway.raw(request)
    assert (reply.status, reply.json["error_log"]) == (500, "the gateway failed: RuntimeError('a bug')")
    monkeypatch.setattr(gateway.invoker, "invoke", failing)
    reply = await gateway.raw(request)
    assert (reply.status, reply.json["error_log"]) == (500, "The gateway failed to answer: its log says why")
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.GATEWAY_ERROR]
    assert gateway.rejected == {"defect": 1}


async def test_a_caller_that_closes_is_recorded(gateway: Gateway) -> None:
    """Its connection's end cancels the call, which leaves one record."""
    gateway.script = Gate()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
    await until(lambda: gateway.upstream.posts)
    writer.close()
    await until(lambda: gateway.journal.records)
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.CLIENT_DISCONNECTED]
    assert gateway.invoker.in_flight.total == 0


async def test_a_caller_that_closes_before_its_body_is_whole(gateway: Gateway) -> None:
    """It has asked for nothing yet: no record, and the gateway serves on."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await gateway.request("POST", "/invoke", BODY)).status == 200
    assert len(gateway.journal.records) == 1


async def test_while_draining_connections_are_closed(gateway: Gateway) -> None:
    """A caller that keeps its connection is told to go elsewhere for its next call."""
    await gateway.invoker.drain(0.0)
    request = b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    reply = await gateway.raw(request)  # returns only because the gateway closes
    assert (reply.status, reply.headers["Connection"]) == (503, "close")
    assert reply.json["error_log"] == "the gateway is shutting down"
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.DRAINING]


async def test_calls_past_the_grace_time_are_answered_over_http(gateway: Gateway) -> None:
    """A shutdown ends calls with an answer and not with a broken connection."""
    gateway.script = Gate()
    replies = [asyncio.create_task(gateway.request("POST", "/invoke", BODY)) for _ in range(5)]
    await until(lambda: len(gateway.upstream.posts) == 5)
    await gateway.invoker.drain(0.0)
    assert [(await reply).status for reply in replies] == [503] * 5
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.DRAINING] * 5
