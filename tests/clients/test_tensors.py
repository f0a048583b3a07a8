"""The official client of KServe's protocol, against a running stack."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

from tests.clients.stack import Stack

LENGTH = "Inference-Header-Content-Length"
NUMBERS = [[1, 2, 3], [4, 5, 120]]
TYPES = {
    "INT8": np.int8,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@pytest.fixture
def client(stack: Stack) -> Iterator[Any]:
    with triton.InferenceServerClient(stack.gateway_url.removeprefix("http://")) as one:
        yield one


def tensor(datatype: str, data: Any, *, binary: bool = True, module: Any = triton) -> Any:
    array = np.array(data)
    one = module.InferInput("INPUT0", list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def wanted(*, binary: bool) -> list[Any]:
    return [triton.InferRequestedOutput("OUTPUT0", binary_data=binary)]


FORMS = [
    (datatype, sent, answered)
    for datatype in TYPES
    for sent in (True, False)
    for answered in (True, False)
    if datatype != "FP16" or (sent and answered)  # which this client doesn't say in JSON
]


@pytest.mark.parametrize(("datatype", "sent", "answered"), FORMS)
def test_tensors(stack: Stack, client: Any, datatype: str, sent: bool, answered: bool) -> None:
    """Of each datatype, in binary and as JSON, both ways."""
    model_id = f"sum-{datatype}-{sent}-{answered}"
    numbers = np.array(NUMBERS, TYPES[datatype])
    result = client.infer(model_id, [tensor(datatype, numbers, binary=sent)], outputs=wanted(binary=answered))
    assert (result.as_numpy("OUTPUT0") == numbers + TYPES[datatype](5)).all()
    row = stack.record(model_id)
    assert (row["success"], row["protocol"], row["operation"]) == (True, "kserve", "infer")
    assert (row["input_size"], row["output_size"], row["streamed"]) == (6, 6, False)
    (request,) = stack.tap.sent_to(f"/v2/models/{model_id}/infer")
    assert (request.headers[LENGTH] is not None) == sent


@pytest.mark.parametrize("binary", [True, False])
def test_texts_and_truths(stack: Stack, client: Any, binary: bool) -> None:
    """They stay as they are."""
    texts, truths = np.array([b"a", "é".encode()], np.object_), np.array([True, False, True])
    model_id = f"other-{binary}"
    inputs = [tensor("BYTES", texts, binary=binary), tensor("BOOL", truths, binary=binary)]
    inputs[1]._name = "INPUT1"
    outputs = [triton.InferRequestedOutput(f"OUTPUT{number}", binary_data=binary) for number in (0, 1)]
    result = client.infer(model_id, inputs, outputs=outputs)
    said = [each if isinstance(each, bytes) else each.encode() for each in result.as_numpy("OUTPUT0")]
    assert said == [*texts]
    assert (result.as_numpy("OUTPUT1") == truths).all()
    row = stack.record(model_id)
    assert (row["input_size"], row["output_size"]) == (5, 5)


OUTPUTS = {"all": None, "as-the-client-likes": [triton.InferRequestedOutput("OUTPUT0")], "json": wanted(binary=False)}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_said_of_outputs_is_left_as_it_is(stack: Stack, client: Any, name: str) -> None:
    """Without any, the client asks for all in binary by a parameter of the request."""
    model_id = f"outputs-{name}"
    result = client.infer(model_id, [tensor("FP64", [[1.0]])], outputs=OUTPUTS[name])
    assert result.as_numpy("OUTPUT0").tolist() == [[6.0]]
    (request,) = stack.tap.sent_to(f"/v2/models/{model_id}/infer")
    sent = json.loads(request.body[: int(request.headers[LENGTH])])
    assert (sent.get("parameters") == {"binary_data_output": True}) == (name == "all")
    assert stack.record(model_id)["output_size"] == 1


@pytest.mark.parametrize("listed", [True, False])
def test_in_binary_by_a_parameter_of_the_request_with_a_list_of_outputs(
    stack: Stack, client: Any, listed: bool
) -> None:
    """Both reach the upstream as they were said, and its binary answer comes whole."""
    model_id = f"whole-request-{listed}"
    said = {"parameters": {"binary_data_output": True}, **({"outputs": [{"name": "OUTPUT0"}]} if listed else {})}
    inputs = [{"name": "INPUT0", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}}]
    text = json.dumps({**said, "inputs": inputs}).encode()
    body = text + np.array([1, 2], np.int32).tobytes()
    answer = client._post(f"v2/models/{model_id}/infer", body, {LENGTH: len(text)}, None)
    length, content = int(answer.get(LENGTH)), answer.read()
    assert answer.status_code == 200
    assert np.frombuffer(content[length:], np.int32).tolist() == [6, 7]
    (request,) = stack.tap.sent_to(f"/v2/models/{model_id}/infer")
    assert (request.body, request.headers[LENGTH]) == (body, str(len(text)))
    row = stack.record(model_id)
    assert (row["input_size"], row["output_size"]) == (2, 2)


@pytest.mark.parametrize("answered", [None, "gzip", "deflate"])
@pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
def test_packed_bodies(stack: Stack, client: Any, sent: str | None, answered: str | None) -> None:
    """As the client packs them: they go on unpacked, with a length of the JSON that is still right."""
    model_id = f"packed-{sent}-{answered}"
    result = client.infer(
        model_id,
        [tensor("FP32", np.array(NUMBERS, np.float32))],
        outputs=wanted(binary=True),
        request_compression_algorithm=sent,
        response_compression_algorithm=answered,
    )
    assert result.as_numpy("OUTPUT0").tolist() == [[6, 7, 8], [9, 10, 125]]
    row = stack.record(model_id)
    assert (row["success"], row["input_size"], row["output_size"]) == (True, 6, 6)
    (request,) = stack.tap.sent_to(f"/v2/models/{model_id}/infer")
    assert json.loads(request.body[: int(request.headers[LENGTH])])["inputs"][0]["shape"] == [2, 3]
    assert "content-encoding" not in request.headers


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
async def test_the_asynchronous_client(stack: Stack, binary: bool, coding: str | None) -> None:
    """In either form, packed or not."""
    model_id = f"asynchronous-{binary}-{coding}"
    async with aio.InferenceServerClient(stack.gateway_url.removeprefix("http://")) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(model_id)
        result = await client.infer(
            model_id,
            [tensor("INT64", NUMBERS, binary=binary, module=aio)],
            outputs=[aio.InferRequestedOutput("OUTPUT0", binary_data=binary)],
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
    assert result.as_numpy("OUTPUT0").tolist() == [[6, 7, 8], [9, 10, 125]]
    assert stack.record(model_id)["input_size"] == 6


@pytest.mark.parametrize("model_id", ["org/model", "a model é", "100%25"])
@pytest.mark.parametrize("version", ["", "3"])
def test_names_and_versions(stack: Stack, client: Any, model_id: str, version: str) -> None:
    """As the client escapes them."""
    model_id += f"-{version}"
    result = client.infer(model_id, [tensor("INT32", np.array([1], np.int32))], model_version=version)
    assert result.get_response()["model_name"] == model_id
    assert result.get_response()["model_version"] == (version or "1")
    assert result.as_numpy("OUTPUT0").tolist() == [6]
    assert client.get_model_metadata(model_id, version)["name"] == model_id
    assert client.is_model_ready(model_id, version)
    (row,) = [row for row in stack.rows("protocol=kserve&limit=1000") if row["model_id"] == model_id]
    assert row["success"] is True


def test_the_server(client: Any) -> None:
    """It is the gateway that answers."""
    assert (client.is_server_live(), client.is_server_ready()) == (True, True)
    assert client.get_server_metadata()["name"] == "invocation-gateway"


def test_a_request_that_is_followed(stack: Stack, client: Any) -> None:
    """By an id of its own, its tags and its trace."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {
        "x-request-id": "r-tensors",
        "x-tag-team": "vision",
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
        "Authorization": "Bearer theirs",
    }
    result = client.infer("followed", [tensor("FP64", [1.0])], request_id="mine", headers=headers)
    assert result.get_response()["id"] == "mine"
    row = stack.record("followed")
    assert (row["request_id"], row["trace_id"], row["tags"]) == ("r-tensors", trace, {"team": "vision"})
    (request,) = stack.tap.sent_to("/v2/models/followed/infer")
    assert request.headers["authorization"] == "Bearer theirs"
    assert "x-tag-team" not in request.headers


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_a_model_that_fails(stack: Stack, client: Any, status: int) -> None:
    """With the upstream's own words and status."""
    model_id = f"failing-{status}"
    stack.fail(model_id, status)
    with pytest.raises(InferenceServerException, match=f"mock failure of model '{model_id}'") as caught:
        client.infer(model_id, [tensor("FP64", [1.0])])
    assert caught.value.status() == str(status)
    row = stack.record(model_id)
    assert (row["success"], row["error_type"], row["status_code"]) == (False, "upstream_status", status)


def test_an_upstream_that_is_away(client: Any) -> None:
    """For inferences and for what is asked of a model, in the dialect's shape."""
    with pytest.raises(InferenceServerException, match="can't connect to upstream") as caught:
        client.infer("tensors-away", [tensor("FP64", [1.0])])
    assert caught.value.status() == "502"
    with pytest.raises(InferenceServerException, match="can't connect to upstream"):
        client.get_model_metadata("tensors-away")
    assert not client.is_model_ready("tensors-away")


def test_what_the_client_can_and_the_gateway_cannot(stack: Stack, client: Any) -> None:
    """Is not found, in words; and no call."""
    recorded = stack.total()
    for ask in (
        client.get_model_repository_index,
        client.get_log_settings,
        client.get_trace_settings,
        client.get_system_shared_memory_status,
        lambda: client.load_model("m"),
    ):
        with pytest.raises(InferenceServerException, match="is not served here"):
            ask()
    assert stack.total() == recorded


@pytest.mark.parametrize("pack", [None, gzip, zlib], ids=["plain", "gzip", "deflate"])
def test_tensors_of_many_megabytes(stack: Stack, client: Any, pack: Any) -> None:
    """Go through as they are."""
    coding = None if pack is None else "gzip" if pack is gzip else "deflate"
    model_id = f"large-{coding}"
    numbers = np.zeros((16, 1024, 1024), np.bool_)
    one = triton.InferInput("INPUT0", [*numbers.shape], "BOOL")
    one.set_data_from_numpy(numbers)
    result = client.infer(model_id, [one], request_compression_algorithm=coding)
    assert (result.as_numpy("OUTPUT0") == numbers).all()
    row = stack.record(model_id)
    assert (row["input_size"], row["output_size"]) == (numbers.size, numbers.size)
