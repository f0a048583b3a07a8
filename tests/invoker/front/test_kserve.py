"""Inferences in KServe's protocol, and what its clients ask beside them, over HTTP."""

import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from invoker.http.pieces import LARGE_BYTES, Pieces
from invoker.protocols.base import ReaderDiedError
from invoker.routing.alias import Alias
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.models import Model, Models
from invoker.upstream.port import ConnectError
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import Answer

URL = "http://triton.test"
PATH = "/v2/models/m/infer"
JSON, OCTETS = "application/json", "application/octet-stream"
BODY = b'{ "inputs": [{"name": "a", "shape": [2, 3], "datatype": "FP32", "data": [1.0, 2, 3, 4, 5, 6]}]}\n'
ANSWER = b'{"model_name": "m",  "outputs": [{"name": "b", "shape": [4], "datatype": "INT8", "data": [1,2,3,4]}]}'
LENGTH = "Inference-Header-Content-Length"
PLAIN = pytest.mark.parametrize("plain", [True, False])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway with two models, one of which has a name with a slash."""
    named = {"m": Model(single(URL), 60.0), "org/name": Model(single(URL), 60.0)}
    async with started(Gateway(Models({}, None, dialects={"kserve": Models(named, None)}))) as one:
        one.answering.max_body_bytes = 8 * LARGE_BYTES
        yield one


def answering(gateway: Gateway, answer: Answer) -> None:
    async def script(_body: bytes) -> Answer:
        return answer

    gateway.script = script


def sizes(gateway: Gateway) -> tuple[int, int]:
    (record,) = gateway.journal.records
    assert (record.error_type, record.protocol, record.operation, record.streamed) == (None, "kserve", "infer", False)
    return record.input_size, record.output_size


def binary(text: bytes, tensors: bytes) -> tuple[bytes, dict[str, str]]:
    """A body, and the headers that are told of it."""
    return text + tensors, {LENGTH.replace("-", "_"): str(len(text)), "Content_Type": OCTETS}


@PLAIN
async def test_an_inference_goes_through(gateway: Gateway, plain: bool) -> None:
    """Byte for byte, headers and query too, by whichever server it is read; and it is one record, in elements."""
    answering(gateway, (200, ANSWER, {b"content-type": b"application/json", b"x-more": b"9"}))
    more = {} if plain else {"Origin": "http://page.test"}
    reply = await gateway.request("POST", f"{PATH}?a=b", BODY, x_request_id="r-1", x_tag_team="t", **more)
    assert (reply.status, reply.body, reply.media_type) == (200, ANSWER, JSON)
    assert (reply.headers["x-more"], reply.headers["x-request-id"]) == ("9", "r-1")
    assert gateway.upstream.posts == [(f"{URL}{PATH}?a=b", BODY)]
    assert sizes(gateway) == (6, 4)
    (record,) = gateway.journal.records
    assert (record.model_id, record.tags, record.request_id) == ("m", {"team": "t"}, "r-1")


@PLAIN
async def test_tensors_in_binary_go_through(gateway: Gateway, plain: bool) -> None:
    """With the header that says where they begin, both ways; they may look like JSON, or like the end of it."""
    text = b'{"parameters": {"binary_data_output": true}, "inputs": [{"shape": [8]}], "outputs": [{"name": "b"}]}'
    body, headers = binary(text, b'}"\x00\xff{[{\\\n')
    answer, said = binary(b'{"outputs":[{"shape":[2,2]},{"shape":[1]}]}', b'"outputs": [{"shape": [9]}]')
    length = said[LENGTH.replace("-", "_")]
    answering(gateway, (200, answer, {b"content-type": OCTETS.encode(), LENGTH.lower().encode(): length.encode()}))
    more = {} if plain else {"Origin": "http://page.test"}
    reply = await gateway.request("POST", PATH, body, **headers, **more)
    assert (reply.status, reply.body, reply.media_type, reply.headers[LENGTH]) == (200, answer, OCTETS, length)
    assert gateway.upstream.posts == [(URL + PATH, body)]
    assert f"{LENGTH}: {len(text)}\r\n".lower().encode() in gateway.upstream.headers[0].lower()
    assert f"content-type: {OCTETS}\r\n".encode() in gateway.upstream.headers[0].lower()
    assert sizes(gateway) == (8, 5)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_packed_body(gateway: Gateway, coding: str) -> None:
    """Goes on unpacked, and what counts its bytes is true of that."""
    pack: Callable[[bytes], bytes] = gzip.compress if coding == "gzip" else zlib.compress
    text, tensors = b'{"inputs": [{"shape": [3, 1]}]}', bytes(12)
    body, headers = binary(text, tensors)
    answering(gateway, (200, ANSWER, {}))
    reply = await gateway.request("POST", PATH, pack(body), Content_Encoding=coding, Accept_Encoding=coding, **headers)
    assert (reply.status, reply.body) == (200, ANSWER)
    assert gateway.upstream.posts == [(URL + PATH, body)]
    lines = gateway.upstream.headers[0].lower()
    assert f"{LENGTH}: {len(text)}\r\n".lower().encode() in lines
    assert b"content-encoding" not in lines
    assert b"accept-encoding: identity\r\n" in lines
    assert sizes(gateway) == (3, 4)


@pytest.mark.parametrize("answer", [b"", b"ok", b'{"outputs": 3}', b'{"outputs": [{"shape": [-1]}]}'])
async def test_what_has_no_sizes_has_those_of_its_bytes(gateway: Gateway, answer: bytes) -> None:
    """What is wrong with tensors is for the upstream to say, and what it answers isn't judged."""
    body = b'{"inputs": [{"shape": "?"}]}'
    answering(gateway, (200, answer, {}))
    reply = await gateway.request("POST", PATH, body, Content_Type=JSON)
    assert (reply.status, reply.body) == (200, answer)
    assert sizes(gateway) == (len(body), len(answer))


@pytest.mark.parametrize("said", ["x", "-1", "1e1", "999999", "0", ""])
async def test_an_answer_with_a_length_that_is_none(gateway: Gateway, said: str) -> None:
    """Goes on as it is: its caller knows what to think of it."""
    answering(gateway, (200, ANSWER, {LENGTH.lower().encode(): said.encode()}))
    reply = await gateway.request("POST", PATH, BODY)
    assert (reply.status, reply.body, reply.headers[LENGTH]) == (200, ANSWER, said)
    assert sizes(gateway) == (6, 4 if not said else len(ANSWER))


async def test_a_body_that_is_its_only_tensor(gateway: Gateway) -> None:
    """With a length of 0 none of it is JSON; how many elements it has, its model knows."""
    answering(gateway, (200, ANSWER, {}))
    body, headers = binary(b"", b"\x00\x01\x02")
    assert (await gateway.request("POST", PATH, body, **headers)).status == 200
    assert gateway.upstream.posts == [(URL + PATH, body)]
    assert sizes(gateway) == (3, 4)


@PLAIN
@pytest.mark.parametrize(
    ("body", "headers", "status", "why"),
    [
        (b"{", {}, 400, "not valid JSON"),
        (b"", {}, 400, "it is empty"),
        (b"[]", {}, 400, "not a JSON object"),
        (b'{"inputs": []}\x01\x02\x03\x04', {}, 400, "not valid JSON"),
        (BODY, {LENGTH: "7"}, 400, "not valid JSON"),
        (BODY, {LENGTH: "1000"}, 400, f"is 1000, and the body has only {len(BODY)} bytes"),
        (BODY, {LENGTH: "-1"}, 400, "'-1' is no number of bytes"),
        (BODY, {LENGTH: "1, 2"}, 400, "'1, 2' is no number of bytes"),
        (BODY, {LENGTH: ""}, 400, "'' is no number of bytes"),
        (BODY, {LENGTH: "9" * 16}, 400, "is no number of bytes"),
        (BODY, {"Content-Type": "text/plain"}, 415, "application/octet-stream"),
        (BODY, {"Content-Type": "multipart/form-data; boundary=a"}, 415, "application/json"),
        (BODY, {"x-tag-": "a"}, 400, "Tag"),
        (bytes(9 * LARGE_BYTES), {}, 413, "larger than"),
        (BODY, {"Content-Encoding": "gzip"}, 400, "can't be unpacked"),
        (BODY, {"Content-Encoding": "snappy"}, 415, "not known here"),
    ],
)
async def test_a_refusal_is_in_the_dialects_shape(
    gateway: Gateway, body: bytes, headers: dict[str, str], status: int, why: str, plain: bool
) -> None:
    """And is no invocation."""
    more = {} if plain else {"Origin": "http://page.test"}
    reply = await gateway.request("POST", PATH, body, **headers, **more)
    assert (reply.status, reply.media_type) == (status, JSON)
    assert reply.json.keys() == {"error"}
    assert why in reply.json["error"]
    assert "x-request-id" in reply.headers
    assert (gateway.journal.records, gateway.upstream.posts, gateway.rejected.total()) == ([], [], 1)


@pytest.mark.parametrize(
    ("path", "model_id"),
    [
        ("/v2/models/m/infer", "m"),
        ("/v2/models/%6d/infer", "m"),
        ("/v2/models/m/versions/3/infer", "m"),
        ("/v2/models/m/versions/v%2F1/infer?x=1", "m"),
        ("/v2/models/org/name/infer", "org/name"),
        ("/v2/models/org%2Fname/infer", "org/name"),
        ("/v2/models/org/name/versions/1/infer", "org/name"),
    ],
)
@PLAIN
async def test_the_model_is_in_the_path(gateway: Gateway, path: str, model_id: str, plain: bool) -> None:
    """As it is or escaped, with a version or without; the path goes on as it came."""
    answering(gateway, (200, ANSWER, {}))
    more = {} if plain else {"Origin": "http://page.test"}
    assert (await gateway.request("POST", path, BODY, **more)).status == 200
    assert gateway.upstream.posts == [(URL + path, BODY)]
    assert [record.model_id for record in gateway.journal.records] == [model_id]


@PLAIN
@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other/infer",
        "/v2/models/m%2Fversions%2F1/infer",
        "/v2/models/__overflow__/infer",
        "/v2/models/%ff/infer",
        "/v2/models/%00/infer",
        f"/v2/models/{'a' * 257}/infer",
        "/v2/models/../m/infer",
        "/v2/models/x/%2e%2e/m/infer",
        "/v2/models/m/generate",
        "/v2/models/m/generate_stream",
        "/v2/models/infer",
        "/v2/models/m",
        "/v2/repository/index",
        "/v2/repository/models/m/load",
        "/v2/systemsharedmemory/region/a/register",
        "/v2/else",
    ],
)
async def test_what_is_not_found(gateway: Gateway, path: str, plain: bool) -> None:
    """A model that is none here, and paths that aren't served, with a sentence that says so."""
    more = {} if plain else {"Origin": "http://page.test"}
    reply = await gateway.request("POST", path, BODY, **more)
    assert (reply.status, reply.json.keys()) == (404, {"error"})
    assert (gateway.journal.records, gateway.upstream.posts, gateway.rejected.total()) == ([], [], 1)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", PATH, 405, "POST"),
        ("DELETE", "/v2/models/m%2Fa/versions/1/infer", 405, "POST"),
        ("PUT", "/v2/models/m", 405, "GET, HEAD"),
        ("POST", "/v2", 405, "GET, HEAD"),
        ("POST", "/v2/health/ready", 405, "GET, HEAD"),
        ("GET", "/v2/models", 404, None),
        ("GET", "/v2/logging", 404, None),
        ("GET", "/v2/", 404, None),
    ],
)
async def test_what_is_not_served(gateway: Gateway, method: str, path: str, status: int, allow: str | None) -> None:
    """In the dialect's shape, too."""
    reply = await gateway.request(method, path)
    assert (reply.status, reply.json.keys(), reply.headers.get("Allow")) == (status, {"error"}, allow)
    assert gateway.upstream.posts == []


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
async def test_an_upstreams_error_goes_through(gateway: Gateway, status: int) -> None:
    """Its status, body and headers reach the caller, and it is recorded as what it is."""
    answer = b'{"error": "theirs"}'
    answering(gateway, (status, answer, {b"retry-after": b"7"}))
    reply = await gateway.request("POST", PATH, BODY)
    assert (reply.status, reply.body, reply.headers["Retry-After"]) == (status, answer, "7")
    (record,) = gateway.journal.records
    assert (record.error_type, record.status_code) == (ErrorType.UPSTREAM_STATUS, status)


async def test_an_upstream_that_is_away(gateway: Gateway) -> None:
    """In the dialect's shape."""

    async def fail(_body: bytes) -> Answer:
        raise ConnectError("can't connect to upstream: no")

    gateway.script = fail
    reply = await gateway.request("POST", PATH, BODY)
    assert (reply.status, reply.json) == (502, {"error": "can't connect to upstream: no"})
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.CONNECT]


SHAPES = b'"inputs": [{"shape": [1, 7]}], "outputs": [{"shape": [5]}]'


@pytest.mark.parametrize("in_binary", [True, False])
async def test_large_bodies(gateway: Gateway, in_binary: bool) -> None:
    """Both ways: JSON is read in another process, and what is behind it not at all."""
    if in_binary:
        body, headers = binary(b"{%b}" % SHAPES, b"\xff" * 2 * LARGE_BYTES)
        fields = {LENGTH.lower().encode(): headers[LENGTH.replace("-", "_")].encode()}

        async def never(_body: object) -> int:
            raise AssertionError

        gateway.large_bodies.input_elements = never  # type: ignore[assignment,method-assign]
        gateway.large_bodies.output_elements = never  # type: ignore[assignment,method-assign]
    else:
        body, headers, fields = b'{"data": "%b", %b}' % (b"x" * 2 * LARGE_BYTES, SHAPES), {}, {}
    answering(gateway, (200, Pieces([body[:70], body[70:]]), fields))
    reply = await gateway.request("POST", PATH, body, **headers)
    assert (reply.status, reply.body == body) == (200, True)
    assert gateway.upstream.posts[0][1] == body
    assert sizes(gateway) == (7, 5)


async def test_a_large_body_is_refused_in_the_same_words(gateway: Gateway) -> None:
    """As a small one."""
    body = b'{"data": "%b", oops}' % (b"x" * 2 * LARGE_BYTES)
    reply = await gateway.request("POST", PATH, body)
    assert (reply.status, "not valid JSON" in reply.json["error"]) == (400, True)
    body, headers = binary(body, b"tensor")
    reply = await gateway.request("POST", PATH, body, **headers)
    assert (reply.status, "not valid JSON" in reply.json["error"]) == (400, True)


async def test_a_large_answer_goes_on_if_it_can_not_be_read(gateway: Gateway) -> None:
    """Its size is that of its bytes then."""

    async def lost(_body: object) -> int:
        raise ReaderDiedError("lost")

    gateway.large_bodies.output_elements = lost  # type: ignore[assignment,method-assign]
    answer = b'{"data": "%b", %b}' % (b"x" * 2 * LARGE_BYTES, SHAPES)
    answering(gateway, (200, answer, {}))
    reply = await gateway.request("POST", PATH, BODY)
    assert (reply.status, reply.body == answer) == (200, True)
    assert sizes(gateway) == (6, len(answer))


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/%6D/versions/3/infer?x=m"])
async def test_a_model_that_its_upstream_knows_by_another_name(gateway: Gateway, path: str) -> None:
    """The path says that one there, and nothing else changes."""
    group = Group([Endpoint(URL, "t", alias=Alias("org/other"))])
    gateway.invoker.models = Models({}, None, dialects={"kserve": Models({"m": Model(group, 60.0)}, None)})
    answering(gateway, (200, ANSWER, {}))
    assert (await gateway.request("POST", path, BODY)).body == ANSWER
    known = path.replace("%6D", "m").replace("/m/", "/org%2Fother/")
    assert gateway.upstream.posts == [(URL + known, BODY)]
    assert [record.model_id for record in gateway.journal.records] == ["m"]
    assert (await gateway.request("GET", "/v2/models/m/ready")).status == 200
    assert gateway.upstream.posts[1] == (f"{URL}/v2/models/org%2Fother/ready", b"")
