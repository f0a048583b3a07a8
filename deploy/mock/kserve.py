"""The mock server as one of KServe's: bodies of requests in, answers out. Neither sockets nor time."""

from typing import Any

import msgspec

from deploy.mock.tensors import Tensor, more_by_five, packed

Parameters = dict[str, Any]
VERSION = "1"


class _Output(msgspec.Struct):
    name: str
    parameters: Parameters = {}


class _Request(msgspec.Struct):
    inputs: list[Tensor]
    id: str | None = None
    parameters: Parameters = {}
    outputs: list[_Output] | None = None


class Inference(msgspec.Struct, omit_defaults=True):
    """An answer's JSON."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str | None = None


Answer = tuple[bytes, int | None]
"""A body, and how much of it is JSON if not all."""


def infer(model: str, version: str | None, body: bytes, json_bytes: int | None) -> Answer:
    """For each input an output of the same shape. `ValueError` or `msgspec.DecodeError` for what is no request."""
    if json_bytes is not None and json_bytes > len(body):
        raise ValueError(f"Inference-Header-Content-Length {json_bytes} is more than the body has")
    if json_bytes == 0:  # the only input, whose shape the model knows
        request = _Request([Tensor("input", [len(body)], "UINT8", {"binary_data_size": len(body)})])
        request.parameters = {"binary_data_output": True}
    else:
        request = msgspec.json.decode(body[:json_bytes], type=_Request)
    computed = _outputs(request, body[len(body) if json_bytes is None else json_bytes :])
    outputs: list[Tensor] = []
    parts: list[bytes] = []
    for wanted in request.outputs if request.outputs is not None else map(_Output, computed):
        if wanted.name not in computed:
            raise ValueError(f"output {wanted.name!r} is none of {', '.join(computed)}")
        tensor = computed[wanted.name]
        if wanted.parameters.get("binary_data", request.parameters.get("binary_data_output", False)):
            parts.append(packed(tensor.datatype, tensor.data))
            tensor = Tensor(tensor.name, tensor.shape, tensor.datatype, {"binary_data_size": len(parts[-1])})
        outputs.append(tensor)
    text = _encode(Inference(model, version or VERSION, outputs, request.id))
    return (text + b"".join(parts), len(text)) if parts else (text, None)


def metadata(model: str) -> Parameters:
    """It takes whatever it gets."""
    return {"name": model, "versions": [VERSION], "platform": "mock", "inputs": [], "outputs": []}


def server_metadata() -> Parameters:
    return {"name": "mock-server", "version": VERSION, "extensions": ["binary_tensor_data"]}


def failure(message: str, _kind: str = "") -> Parameters:
    return {"error": message}


def _outputs(request: _Request, binary: bytes) -> dict[str, Tensor]:
    """By their names: of `INPUT0`, it is `OUTPUT0`."""
    place, found = 0, dict[str, Tensor]()
    for tensor in request.inputs:
        size = tensor.binary_bytes
        part = None if size is None else binary[place : place + size]
        if part is not None and len(part) != size:
            raise ValueError(f"tensor {tensor.name!r}: {size} bytes of it are said to follow, and {len(part)} do")
        place += size or 0
        name = tensor.name.replace("INPUT", "OUTPUT").replace("input", "output")
        found[name] = Tensor(name, tensor.shape, tensor.datatype, None, more_by_five(tensor, part))
    if place != len(binary):
        raise ValueError(f"{len(binary) - place} bytes follow the tensors")
    return found


def _encode(inference: Inference) -> bytes:
    answer = msgspec.to_builtins(inference, enc_hook=None, builtin_types=(bytes,))
    for output in answer["outputs"]:
        for name in ("parameters", "data"):
            if output[name] is None:
                del output[name]
        if output["datatype"] == "BYTES" and "data" in output:
            output["data"] = [each.decode() if isinstance(each, bytes) else each for each in output["data"]]
    return msgspec.json.encode(answer)
