"""MLServer as an upstream: the official client gets what it says, and each inference is one record."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

from tests.clients.stack import Stack
from tests.peers.conftest import Tensors
from tests.peers.mlserver import VERSION

pytestmark = pytest.mark.peers


@pytest.fixture
def client(tensors: Tensors) -> Iterator[Any]:
    with triton.InferenceServerClient(tensors.stack.gateway_url.removeprefix("http://")) as one:
        yield one


@pytest.fixture
def direct(tensors: Tensors) -> Iterator[Any]:
    """Without a gateway in between."""
    with triton.InferenceServerClient(tensors.url.removeprefix("http://")) as one:
        yield one


def numbers(module: Any = triton, size: int = 3) -> Any:
    one = module.InferInput("numbers", [size], "INT64")
    one.set_data_from_numpy(np.arange(1, size + 1), binary_data=False)
    return one


OUTPUT = [triton.InferRequestedOutput("sum of numbers", binary_data=False)]


def record(stack: Stack, request_id: str) -> dict[str, Any]:
    (row,) = stack.rows(f"request_id={request_id}")
    return row


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("model_id", ["sum", "mlserver/sum"])
def test_an_inference(tensors: Tensors, client: Any, direct: Any, model_id: str, coding: str | None) -> None:
    """As the server answers it without a gateway; also packed in ways that it doesn't know itself."""
    said: Any = {"outputs": OUTPUT, "request_id": "1"}
    request_id = f"r-{model_id}-{coding}"
    got = client.infer(
        model_id,
        [numbers()],
        **said,
        headers={"x-request-id": request_id},
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert got.get_response() == direct.infer("sum", [numbers()], **said).get_response()
    assert got.as_numpy("sum of numbers").tolist() == [6]
    row = record(tensors.stack, request_id)
    assert (row["model_id"], row["success"], row["operation"]) == (model_id, True, "infer")
    assert (row["input_size"], row["output_size"]) == (3, 1)


def test_several_tensors_of_many_elements(tensors: Tensors, client: Any) -> None:
    """More JSON than is read at once."""
    others = triton.InferInput("others", [2, 10_000], "FP64")
    others.set_data_from_numpy(np.ones((2, 10_000)), binary_data=False)
    got = client.infer("sum", [numbers(size=50_000), others], outputs=OUTPUT, headers={"x-request-id": "r-many"})
    assert got.as_numpy("sum of numbers").tolist() == [50_000 * 50_001 // 2]
    row = record(tensors.stack, "r-many")
    assert (row["input_size"], row["output_size"]) == (70_000, 2)


async def test_the_asynchronous_client(tensors: Tensors) -> None:
    """Likewise. It calls all bodies bytes, if it isn't told otherwise, and this server then reads no JSON in them."""
    headers = {"x-request-id": "r-aio", "Content-Type": "application/json"}
    async with aio.InferenceServerClient(tensors.stack.gateway_url.removeprefix("http://")) as several:
        assert await several.is_model_ready("sum")
        output = aio.InferRequestedOutput("sum of numbers", binary_data=False)
        got = await several.infer("sum", [numbers(aio)], outputs=[output], headers=headers)
    assert got.as_numpy("sum of numbers").tolist() == [6]
    assert record(tensors.stack, "r-aio")["success"] is True


@pytest.mark.parametrize("model_id", ["sum", "mlserver/sum"])
def test_a_version(client: Any, direct: Any, model_id: str) -> None:
    """Is that of the server."""
    got = client.infer(model_id, [numbers()], model_version=VERSION, outputs=OUTPUT)
    assert got.get_response()["model_version"] == VERSION
    assert client.get_model_metadata(model_id, VERSION) == direct.get_model_metadata("sum", VERSION)
    assert client.is_model_ready(model_id, VERSION)
    assert not client.is_model_ready(model_id, "v8")
    with pytest.raises(InferenceServerException, match="v8"):
        client.infer(model_id, [numbers()], model_version="v8", outputs=OUTPUT)


def test_what_is_asked_of_a_model(tensors: Tensors, client: Any, direct: Any) -> None:
    """Is answered by the server, and no record."""
    recorded = tensors.stack.total()
    assert client.get_model_metadata("sum") == direct.get_model_metadata("sum")
    assert client.is_model_ready("sum")
    assert not client.is_model_ready("mlserver/none")
    with pytest.raises(InferenceServerException, match="none") as caught:
        client.get_model_metadata("mlserver/none")
    assert caught.value.status() == "404"
    assert tensors.stack.total() == recorded


def test_a_model_that_fails(tensors: Tensors, client: Any, direct: Any) -> None:
    """In the server's words, and recorded as its failure."""
    with pytest.raises(InferenceServerException) as expected:
        direct.infer("broken", [numbers()], outputs=OUTPUT)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("broken", [numbers()], outputs=OUTPUT, headers={"x-request-id": "r-broken"})
    assert (caught.value.status(), caught.value.message()) == (expected.value.status(), expected.value.message())
    row = record(tensors.stack, "r-broken")
    assert (row["success"], row["error_type"]) == (False, "upstream_status")
    assert str(row["status_code"]) == caught.value.status()


def test_a_request_that_is_none(tensors: Tensors, client: Any) -> None:
    """What is wrong with its tensors the server says; its size is that of its bytes."""
    body = json.dumps({"inputs": [{"name": "a", "shape": "?"}]}).encode()
    headers = {"x-request-id": "r-none", "Content-Type": "application/json"}
    answer = client._post("v2/models/sum/infer", body, headers, None)
    assert answer.status_code == 422
    row = record(tensors.stack, "r-none")
    assert (row["error_type"], row["status_code"], row["input_size"]) == ("upstream_status", 422, len(body))
