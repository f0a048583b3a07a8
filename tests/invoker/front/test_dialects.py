"""Calls of dialects whose bodies go through, over HTTP."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from invoker.call.ending import Ending
from invoker.http.pieces import LARGE_BYTES, Pieces
from invoker.protocols.base import ReaderDiedError
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import Answer

OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
PATHS = pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, "/v1/anything/else"])
BODY = b'{ "z": 1.0, "model": "m", "a": "\xc3\xa9" }\n'
JSON = "application/json"


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway with one model of each dialect, on bases of their own."""
    dialects = {
        "openai": Models({"m": Model(single("http://openai.test/v1"), 60.0)}, None),
        "anthropic": Models({"m": Model(single("http://anthropic.test"), 60.0)}, None),
    }
    async with started(Gateway(Models({}, None, dialects=dialects))) as one:
        one.answering.max_body_bytes = 4 * LARGE_BYTES
        yield one


def answering(gateway: Gateway, answer: Answer) -> None:
    async def script(_body: bytes) -> Answer:
        return answer

    gateway.script = script


@PATHS
@pytest.mark.parametrize("plain", [True, False])
async def test_a_call_goes_through(gateway: Gateway, path: str, plain: bool) -> None:
    """Bodies byte for byte, headers and query too, by whichever server it is read; and it is one record."""
    answer = b'{"choices":[],  "n":1.0}'
    fields = {b"content-type": b"application/json; charset=utf-8", b"x-ratelimit-limit": b"9", b"set-cookie": b"a"}
    answering(gateway, (200, answer, fields))
    more = {} if plain else {"Origin": "http://page.test"}
    reply = await gateway.request(
        "POST", f"{path}?beta=true", BODY, Content_Type=JSON, x_api_key="k", x_request_id="r-1", Cookie="c=d", **more
    )
    assert (reply.status, reply.body) == (200, answer)
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert (reply.headers["x-ratelimit-limit"], reply.headers["x-request-id"]) == ("9", "r-1")
    assert len(reply.headers.getall("Content-Type")) == 1
    assert "Set-Cookie" not in reply.headers
    url = "http://anthropic.test" if path == ANTHROPIC else "http://openai.test"
    assert gateway.upstream.posts == [(f"{url}{path}?beta=true", BODY)]
    lines = gateway.upstream.headers[0].lower()
    assert b"x-api-key: k\r\n" in lines
    assert lines.count(b"content-type: application/json\r\n") == lines.count(b"x-request-id: r-1\r\n") == 1
    assert b"cookie" not in lines
    (record,) = gateway.journal.records
    assert (record.model_id, record.error_type, record.input_size, record.output_size) == (
        "m",
        None,
        len(BODY),
        len(answer),
    )


USAGE = {
    OPENAI: (b'{"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}', (9, 4, 3)),
    "/v1/embeddings": (b'{"prompt_tokens": 9, "total_tokens": 9}', (9, None, None)),
    "/v1/responses": (b'{"input_tokens": 9, "output_tokens": 3}', (9, None, 3)),
    ANTHROPIC: (b'{"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 3}', (9, 4, 3)),
    "/v1/messages/count_tokens": (b'null, "input_tokens": 5', (None, None, None)),
    "/v1/rerank": (b"[-1]", (None, None, None)),
}


@pytest.mark.parametrize("path", USAGE)
@pytest.mark.parametrize("size", [1, LARGE_BYTES], ids=["small", "large"])
async def test_what_an_answer_took_is_recorded(gateway: Gateway, path: str, size: int) -> None:
    """As the upstream says it, however large its answer is; what it doesn't say is not known."""
    report, expected = USAGE[path]
    answer = b'{"data": "%b", "usage": %b}' % (size * b"a", report)
    answering(gateway, (200, Pieces([answer[:50], answer[50:]]), {b"content-type": b"application/json"}))
    reply = await gateway.request("POST", path, BODY, Content_Type=JSON)
    assert (reply.status, reply.body) == (200, answer)
    (record,) = gateway.journal.records
    assert (record.input_tokens, record.cached_input_tokens, record.output_tokens) == expected
    assert (record.error_type, record.output_size) == (None, len(answer))


async def test_what_an_error_took_is_not_known(gateway: Gateway) -> None:
    """An error's body is no answer."""
    answering(gateway, (400, b'{"usage": {"prompt_tokens": 9}}', {}))
    await gateway.request("POST", OPENAI, BODY, Content_Type=JSON)
    assert [record.input_tokens for record in gateway.journal.records] == [None]


@pytest.mark.parametrize("begin", [b"{", b"\xff\xfb"], ids=["JSON", "sound"])
async def test_a_large_answer_goes_on_if_its_usage_can_not_be_read(gateway: Gateway, begin: bytes) -> None:
    """That is no matter of its caller's; and of what is no JSON, nothing is looked for."""
    asked: list[object] = []

    async def lost(body: object) -> bytes:
        asked.append(body)
        raise ReaderDiedError("lost")

    gateway.large_bodies.find_report = lost  # type: ignore[method-assign]
    answer = begin + bytes(2 * LARGE_BYTES)
    answering(gateway, (200, answer, {}))
    reply = await gateway.request("POST", OPENAI, BODY, Content_Type=JSON)
    assert (reply.status, reply.body, len(asked)) == (200, answer, int(begin == b"{"))
    assert [(each.error_type, each.input_tokens) for each in gateway.journal.records] == [(None, None)]


async def test_a_large_answer_goes_on_at_the_end_of_the_grace_time(gateway: Gateway) -> None:
    """It is all here, and only what it took is not known."""
    reading = asyncio.Event()

    async def hanging(_body: object) -> bytes:
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    gateway.large_bodies.find_report = hanging  # type: ignore[assignment,method-assign]
    answer = b"{" + bytes(2 * LARGE_BYTES)
    answering(gateway, (200, answer, {}))
    asking = asyncio.create_task(gateway.request("POST", OPENAI, BODY, Content_Type=JSON))
    await reading.wait()
    gateway.invoker.flights.end_all(Ending.DRAIN)
    assert (await asking).body == answer
    assert [record.error_type for record in gateway.journal.records] == [None]


@PATHS
@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500, 503, 529])
@pytest.mark.parametrize("plain", [True, False])
async def test_an_upstreams_error_goes_through(gateway: Gateway, path: str, status: int, plain: bool) -> None:
    """Its status, body and headers reach the caller, and it is recorded as what it is."""
    answer = b'{"error": {"message": "theirs"}}'
    answering(gateway, (status, answer, {b"content-type": b"text/x", b"retry-after": b"7"}))
    more = {} if plain else {"Origin": "http://page.test"}
    reply = await gateway.request("POST", path, BODY, **more)
    assert (reply.status, reply.body, reply.headers["Retry-After"]) == (status, answer, "7")
    assert reply.headers.getall("Content-Type") == ["text/x"]
    (record,) = gateway.journal.records
    assert record.error_type is ErrorType.UPSTREAM_STATUS
    assert record.error_log.startswith(f"upstream answered {status}")


@PATHS
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", JSON, 400),
        (b"{}", JSON, 400),
        (BODY, "text/plain", 415),
        (b'{"model": "other"}', JSON, 404),
    ],
)
async def test_a_refusal_has_the_dialects_shape(
    gateway: Gateway, path: str, body: bytes, content_type: str, status: int
) -> None:
    """And is no invocation."""
    reply = await gateway.request("POST", path, body, Content_Type=content_type)
    assert (reply.status, reply.media_type) == (status, JSON)
    assert set(reply.json["error"]) >= {"type", "message"}
    assert reply.json.get("type") == ("error" if path == ANTHROPIC else None)
    assert gateway.journal.records == []
    assert gateway.upstream.posts == []


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
async def test_a_large_body(gateway: Gateway, path: str) -> None:
    """It is read in another process, and refused in the same words."""
    body = b'{"image": "%b", "model": "m"}' % (b"x" * 2 * LARGE_BYTES)
    answering(gateway, (200, b"y" * 2 * LARGE_BYTES, {}))
    reply = await gateway.request("POST", path, body, Content_Type=JSON)
    assert (reply.status, len(reply.body)) == (200, 2 * LARGE_BYTES)
    assert gateway.upstream.posts[0][1] == body
    refused = await gateway.request("POST", path, body.replace(b'"model"', b'"mode"'), Content_Type=JSON)
    assert refused.status == 400
    assert "model" in refused.json["error"]["message"]
    assert len(gateway.journal.records) == 1


FORM = "multipart/form-data; boundary=a-b"
OWN, FOREIGN = {"Origin": "http://gateway"}, {"Origin": "http://page.test"}


def form(model: bytes, file: bytes = b"RIFF") -> bytes:
    parts = (b'file"; filename="a.wav', file), (b"model", model)
    head = b'--a-b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return b"".join(head % part for part in parts) + b"--a-b--\r\n"


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/edits", "/v1/files"])
@pytest.mark.parametrize("size", [4, 2 * LARGE_BYTES])
@pytest.mark.parametrize("more", [{}, OWN], ids=["plain", "not plain"])
async def test_a_form_goes_through(gateway: Gateway, path: str, size: int, more: dict[str, str]) -> None:
    """Byte for byte, with the boundary that it came with; its model is a field behind a file."""
    answering(gateway, (200, b"a text", {b"content-type": b"text/plain"}))
    body = form(b"m", b"x" * size)
    reply = await gateway.request("POST", path, body, Content_Type=FORM, **more)
    assert (reply.status, reply.body, reply.media_type) == (200, b"a text", "text/plain")
    assert gateway.upstream.posts == [(f"http://openai.test{path}", body)]
    assert b"content-type: multipart/form-data; boundary=a-b\r\n" in gateway.upstream.headers[0].lower()
    assert [(record.model_id, record.input_size) for record in gateway.journal.records] == [("m", len(body))]


@pytest.mark.parametrize(
    ("path", "body", "content_type", "more", "status"),
    [
        ("/v1/files", form(b"m").replace(b"model", b"purpose"), FORM, {}, 400),
        ("/v1/audio/translations", form(b"other"), FORM, {}, 404),
        ("/v1/audio/translations", form(b"m"), "multipart/form-data", {}, 400),
        ("/v1/audio/translations", form(b"m"), "multipart/mixed; boundary=a-b", {}, 415),
        ("/v1/audio/translations", form(b"m")[:-9], FORM, {}, 400),
        ("/v1/audio/translations", form(b"m"), FORM, FOREIGN, 403),
        ("/v1/audio/translations", form(b"m"), FORM, {"Origin": "null"}, 403),
        ("/v1/messages", form(b"m"), FORM, {}, 415),
    ],
)
async def test_a_form_that_is_refused(
    gateway: Gateway, path: str, body: bytes, content_type: str, more: dict[str, str], status: int
) -> None:
    """In the dialect's shape; no page of another origin can call a model with one."""
    reply = await gateway.request("POST", path, body, Content_Type=content_type, **more)
    assert reply.status == status
    assert set(reply.json["error"]) >= {"type", "message"}
    assert gateway.upstream.posts == []


async def test_what_is_said_aloud_goes_through(gateway: Gateway) -> None:
    """As the bytes that it is, though it comes in pieces."""
    sound = bytes(range(256)) * 2048
    pieces = Pieces([sound[:1000], sound[1000:]])
    answering(gateway, (200, pieces, {b"content-type": b"audio/mpeg", b"transfer-encoding": b"chunked"}))
    reply = await gateway.request("POST", "/v1/audio/speech", BODY, Content_Type=JSON)
    assert (reply.status, reply.media_type, reply.body == sound) == (200, "audio/mpeg", True)
    assert [record.output_size for record in gateway.journal.records] == [len(sound)]


async def test_a_packed_body_goes_on_unpacked(gateway: Gateway) -> None:
    """And nothing says otherwise."""
    answering(gateway, (200, b"{}", {}))
    reply = await gateway.request("POST", OPENAI, gzip.compress(BODY), Content_Encoding="gzip")
    assert reply.status == 200
    assert gateway.upstream.posts[0][1] == BODY
    assert b"content-encoding" not in gateway.upstream.headers[0].lower()


async def test_a_model_is_of_its_dialect(gateway: Gateway) -> None:
    """What only OpenAI's protocol has an upstream for isn't called by `/invoke`."""
    reply = await gateway.request("POST", "/invoke", b'{"worklet_input": {"model_id": "m", "input": 1}}')
    assert reply.status == 404
    assert json.loads(reply.body)["success"] is False
