"""Inferences that are tried again, or answered by another model: as those of any dialect."""

import asyncio

import pytest

from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.models import Model, Models
from invoker.upstream.port import ConnectError
from tests.invoker.conftest import Gateway, started, until
from tests.invoker.fakes import Answer

BODY = b'{"inputs": [{"shape": [2]}]}\x00\x01'
HEADERS = {"Inference_Header_Content_Length": "28", "Content_Type": "application/octet-stream"}
ANSWER = b'{"outputs": [{"shape": [3]}]}'


def gateway_of(**named: Model) -> Gateway:
    return Gateway(Models({}, None, dialects={"kserve": Models(named, None)}))


@pytest.mark.parametrize("status", [0, 429, 503])
async def test_another_endpoint_is_tried(status: int) -> None:
    """Where the first can't have received it, or has no room: with the same bytes and headers; and it is one record."""
    group = Group([Endpoint(f"http://{name}.test", name, priority=place) for place, name in enumerate("ab")])
    async with started(gateway_of(m=Model(group, 60.0, retries=1, retry_busy=True))) as gateway:
        posts = gateway.upstream.posts

        async def script(_body: bytes) -> Answer:
            if len(posts) > 1:
                return 200, ANSWER, {}
            if not status:
                raise ConnectError("away")
            return status, b"{}", {}

        gateway.script = script
        reply = await gateway.request("POST", "/v2/models/m/versions/1/infer", BODY, **HEADERS)
        assert (reply.status, reply.body) == (200, ANSWER)
        assert posts == [(f"http://{name}.test/v2/models/m/versions/1/infer", BODY) for name in "ab"]
        assert all(b"content-length: 28\r\n" in lines.lower() for lines in gateway.upstream.headers)
        (record,) = gateway.journal.records
        assert (record.attempts, record.upstream, record.input_size, record.output_size) == (2, "b", 2, 3)


async def test_another_model_takes_its_place() -> None:
    """Which the path says then; the answer names it."""
    models = {name: Model(single(f"http://{name}.test"), 60.0) for name in ("first", "second")}
    first = Model(models["first"].group, 60.0, fallback=("second",))
    async with started(gateway_of(first=first, second=models["second"])) as gateway:

        async def script(_body: bytes) -> Answer:
            return (200, ANSWER, {}) if len(gateway.upstream.posts) > 1 else (500, b"{}", {})

        gateway.script = script
        reply = await gateway.request("POST", "/v2/models/first/infer?x=1", BODY, **HEADERS)
        assert (reply.status, reply.body, reply.headers["x-served-by"]) == (200, ANSWER, "second")
        urls = [url for url, _ in gateway.upstream.posts]
        assert urls == [f"http://{name}.test/v2/models/{name}/infer?x=1" for name in ("first", "second")]
        (record,) = gateway.journal.records
        assert (record.model_id, record.fallback_from, record.input_size) == ("second", "first", 2)


async def test_a_request_that_is_not_sent_to_its_end() -> None:
    """Is refused in the dialect's shape, whether it takes too long or its caller closes its side."""
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: g\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    async with started(gateway_of(m=Model(single("http://m.test"), 60.0))) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head + BODY[:5])
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'\r\n\r\n{"error":"' in answer
        writer.close()
        await until(lambda: gateway.rejected.total() == 1)
        assert (gateway.journal.records, gateway.upstream.posts) == ([], [])
