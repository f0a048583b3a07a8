"""What KServe's clients ask beside inferences, over HTTP."""

from collections.abc import AsyncIterator

import pytest

from invoker.routing.credentials import credentials
from invoker.routing.ejection import Health
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.models import Model, Models
from invoker.upstream.port import ConnectError, UpstreamError
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import Answer, Gate

URL = "http://triton.test"


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway with two models, one of which has a name with a slash."""
    named = {"m": Model(single(URL), 60.0), "org/name": Model(single(URL), 60.0)}
    async with started(Gateway(Models({}, None, dialects={"kserve": Models(named, None)}))) as one:
        yield one


def answering(gateway: Gateway, answer: Answer) -> None:
    async def script(_body: bytes) -> Answer:
        return answer

    gateway.script = script


async def test_the_server_is_the_gateway(gateway: Gateway) -> None:
    """It answers by itself, and is not ready once it drains."""
    metadata = (await gateway.request("GET", "/v2")).json
    assert metadata.keys() == {"name", "version", "extensions"}
    assert metadata["extensions"] == ["binary_tensor_data"]
    assert (await gateway.request("GET", "/v2/health/live")).json == {"live": True}
    reply = await gateway.request("GET", "/v2/health/ready")
    assert (reply.status, reply.json) == (200, {"ready": True})
    gateway.answering.stopping = True
    assert (await gateway.request("GET", "/v2/health/live")).json == {"live": True}
    reply = await gateway.request("GET", "/v2/health/ready")
    assert (reply.status, reply.json) == (503, {"ready": False})
    assert gateway.upstream.posts == []


@pytest.mark.parametrize("model", ["m", "org/name", "org%2Fname"])
@pytest.mark.parametrize("rest", ["", "/ready", "/config", "/stats", "/versions/2", "/versions/2/ready?x=1"])
async def test_a_model_is_asked_of_its_upstream(gateway: Gateway, model: str, rest: str) -> None:
    """Status, headers and body as they are, and it is no invocation."""
    answering(gateway, (400, b'{"name": "m"}', {b"content-type": b"text/x", b"x-more": b"9"}))
    path = f"/v2/models/{model}{rest}"
    reply = await gateway.request("GET", path, x_request_id="r-1", x_api_key="k")
    assert (reply.status, reply.body, reply.media_type) == (400, b'{"name": "m"}', "text/x")
    assert (reply.headers["x-more"], reply.headers["x-request-id"]) == ("9", "r-1")
    assert (gateway.upstream.methods, gateway.upstream.posts) == ([b"GET"], [(URL + path, b"")])
    assert b"x-api-key: k\r\n" in gateway.upstream.headers[0]
    assert gateway.journal.records == []


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/ready", "/v2/models/m/..", "/v2/models/%ff"])
async def test_a_model_that_is_none_here(gateway: Gateway, path: str) -> None:
    """Nobody is asked."""
    reply = await gateway.request("GET", path)
    assert (reply.status, reply.json.keys(), gateway.upstream.posts) == (404, {"error"}, [])


async def test_an_upstream_that_can_not_be_asked(gateway: Gateway) -> None:
    """Is told in the dialect's shape, and without what is secret."""

    async def fail(_body: bytes) -> Answer:
        raise UpstreamError(ErrorType.INVALID_RESPONSE, "it says s3cret")

    endpoint = Endpoint(URL, "t", credentials=credentials("kserve", URL, key="s3cret"))
    gateway.invoker.models = Models({}, None, dialects={"kserve": Models({"m": Model(Group([endpoint]), 0.01)}, None)})
    gateway.script = fail
    reply = await gateway.request("GET", "/v2/models/m")
    assert (reply.status, reply.json) == (502, {"error": "it says ***"})
    assert b"Authorization: Bearer s3cret\r\n" in gateway.upstream.headers[0]
    gateway.script = Gate()
    reply = await gateway.request("GET", "/v2/models/m/ready")
    assert (reply.status, reply.json) == (504, {"error": "The upstream gave no whole answer within 0.01 s"})


async def test_of_several_endpoints_one_that_is_in_is_asked(gateway: Gateway) -> None:
    """And the next one, if that gives no answer."""
    group = Group([Endpoint(f"http://{name}.test", name) for name in "abc"])
    group.members[0].health = Health(ejected_until_us=2**60)
    gateway.invoker.models = Models({}, None, dialects={"kserve": Models({"m": Model(group, 60.0)}, None)})
    asked = gateway.upstream.posts

    async def answer_third(_body: bytes) -> Answer:
        if len(asked) < 2:
            raise ConnectError("no")
        return 200, b"{}", {}

    gateway.script = answer_third
    assert (await gateway.request("GET", "/v2/models/m/ready")).status == 200
    assert [url for url, _ in asked] == ["http://b.test/v2/models/m/ready", "http://c.test/v2/models/m/ready"]
    assert all(not member.tally.attempts for member in group.members)
