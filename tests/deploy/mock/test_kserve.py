"""The mock server as one of KServe's."""

import gzip
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from deploy.mock.config import Behaviour, Config
from deploy.mock.tensors import BITS, FORMATS, Tensor, more_by_five, packed, unpacked
from deploy.mock_server import make_app
from shared.addresses import bind, listen, urls_of
from shared.serving import running, serving

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    async with TestClient(TestServer(make_app(Config("fixed:0ms")))) as one:
        yield one


def request(datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "INPUT0", "shape": [len(data)], "datatype": datatype, "data": data}], **more}


@pytest.mark.parametrize(
    ("datatype", "data", "more"),
    [
        ("INT8", [1, 127], [6, -124]),
        ("INT64", [2**63 - 1], [4 - 2**63]),
        ("UINT8", [1, 255], [6, 4]),
        ("UINT64", [2**64 - 1], [4]),
        ("FP16", [1, 0.5], [6, 5.5]),
        ("FP32", [[1.5], [-5]], [6.5, 0]),
        ("FP64", [], []),
        ("BF16", [1.5], [6.5]),
        ("BOOL", [True, False], [True, False]),
        ("BYTES", ["a", "é"], ["a", "é"]),
    ],
)
async def test_each_number_is_five_more(client: Any, datatype: str, data: list[Any], more: list[Any]) -> None:
    """Of each datatype, as JSON and in binary."""
    url = "/v2/models/org/sum/versions/7/infer"
    answer = await (await client.post(url, json=request(datatype, data, id="1"))).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("org/sum", "7", "1")
    assert answer["outputs"] == [{"name": "OUTPUT0", "shape": [len(data)], "datatype": datatype, "data": more}]
    wanted = request(datatype, data, parameters={"binary_data_output": True}, outputs=[{"name": "OUTPUT0"}])
    binary = await client.post(url, json=wanted)
    length, body = int(binary.headers[LENGTH]), await binary.read()
    assert binary.content_type == "application/octet-stream"
    (output,) = json.loads(body[:length])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(body) - length
    values = unpacked(datatype, body[length:])
    assert [each.decode() if isinstance(each, bytes) else each for each in values] == more


@given(st.sampled_from(sorted(BITS)), st.data())
def test_tensors_in_binary(datatype: str, data: st.DataObject) -> None:
    """What is packed is unpacked to the same, and in binary as in JSON."""
    bits, signed = BITS[datatype], not datatype.startswith("U")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = data.draw(st.lists(st.integers(low, high)))
    binary = packed(datatype, values)
    assert unpacked(datatype, binary) == values
    size = struct.calcsize(FORMATS[datatype])
    of_binary = more_by_five(Tensor("a", [len(binary) // size], datatype), binary)
    assert of_binary == more_by_five(Tensor("a", [len(values)], datatype, None, values), None)
    assert all(low <= value <= high for value in of_binary)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_packed_bodies(coding: str, pack: Any) -> None:
    """Both ways, as the server runs; the length counts what is unpacked."""
    text = json.dumps(request("INT8", [1, 2], parameters={"binary_data_output": True})).encode()
    text = text.replace(b'"data": [1, 2]', b'"parameters": {"binary_data_size": 2}')
    headers = {"Content-Encoding": coding, "Accept-Encoding": coding, LENGTH: str(len(text))}
    bound = bind("127.0.0.1", 0, "MOCK_PORT")
    listen(bound, "MOCK_PORT")
    app = make_app(Config("fixed:0ms"))
    async with running(app, 1.0) as runner, serving(runner, bound), ClientSession(urls_of(bound)) as session:
        answer = await session.post("/v2/models/m/infer", data=pack(text + b"\x01\x02"), headers=headers)
        assert (answer.status, answer.headers["Content-Encoding"]) == (200, coding)
        assert (await answer.read()).endswith(b"\x06\x07")  # unpacked by the client
        answer = await session.post("/v2/models/m/infer", data=b"?", headers=headers)
        assert (answer.status, list(await answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b'{"inputs": [{}]}',
        json.dumps(request("INT5", [1])).encode(),
        json.dumps(request("INT8", ["a"])).encode(),
        json.dumps(request("FP32", [None])).encode(),
        json.dumps(request("INT8", [1], outputs=[{"name": "else"}])).encode(),
        b'{"inputs": [{"name": "a", "shape": [2], "datatype": "INT8", "data": [1]}]}',
        b'{"inputs": [{"name": "a", "shape": [-1], "datatype": "INT8", "data": [1]}]}',
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "INT8"}]}',
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "INT8", "parameters": {"binary_data_size": "1"}}]}',
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "INT8", "parameters": {"binary_data_size": 1}}]}',
    ],
)
async def test_what_is_no_request(client: Any, body: bytes) -> None:
    """Is refused with a sentence."""
    answer = await client.post("/v2/models/m/infer", data=body)
    assert (answer.status, list(await answer.json())) == (400, ["error"])


async def test_what_it_says_of_itself_and_of_models() -> None:
    """Whatever is asked for is there."""
    config = Config("fixed:0ms", models={"org/a": Behaviour(failure_rate=1.0, failure_status=503, retry_after="3")})
    async with TestClient(TestServer(make_app(config))) as client:
        assert (await (await client.get("/v2")).json())["extensions"] == ["binary_tensor_data"]
        assert (await (await client.get("/v2/health/live")).json()) == {"live": True}
        assert (await (await client.get("/v2/health/ready")).json()) == {"ready": True}
        assert (await (await client.get("/v2/models/org%2Fa/versions/1")).json())["name"] == "org/a"
        assert (await (await client.get("/v2/models/org/a/ready")).json()) == {"name": "org/a", "ready": True}
        assert (await client.get("/v2/models/b/ready")).status == 200
        assert (await client.get("/v2/models/b/infer")).status == 405
        answer = await client.post("/v2/models/org/a/infer", json=request("INT8", [1]))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
        assert await answer.json() == {"error": "mock failure of model 'org/a'"}
        assert (await client.post("/v2/models/org/a/generate", json={})).status == 404
