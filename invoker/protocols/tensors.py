"""What is read of tensors in KServe's protocol: how many elements a request's inputs or an answer's outputs have, by
their shapes; their data are passed over."""

import re

import msgspec

from invoker.protocols.base import BadRequestError
from invoker.protocols.json_problem import json_problem

MAX_ELEMENTS = 2**53
"""More is no size of anything that was sent, and the product of so many numbers would never be done."""

_NOT_FINITE = re.compile(rb"(?<=[\[,:\s])[+-]?(?:NaN|Inf(?:inity)?)(?=[\],}\s])")
"""As some clients and servers write floats in JSON, which has no such numbers."""


class _Tensor(msgspec.Struct, frozen=True):
    shape: list[int]


class _Request(msgspec.Struct, frozen=True):
    inputs: list[_Tensor]


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[_Tensor]


_requests = msgspec.json.Decoder(_Request)
_answers = msgspec.json.Decoder(_Answer)
_any_json = msgspec.json.Decoder(msgspec.Raw)
_INVALID = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def input_elements(text: bytes) -> int | None:
    """Of a request's JSON: how many its inputs have; None if their shapes don't tell. `BadRequestError` for what is no
    JSON object: what is wrong in one is for the upstream to say."""
    try:
        return _decoded_elements(text)
    except _INVALID as error:
        if _NOT_FINITE.search(text) is not None:
            return input_elements(_NOT_FINITE.sub(b"0", text))
        raise BadRequestError(400, "invalid_json", f"The body is not valid JSON: {json_problem(text, error)}") from None


def _decoded_elements(text: bytes) -> int | None:
    try:
        return _elements(_requests.decode(text).inputs)
    except msgspec.ValidationError:
        if not bytes(_any_json.decode(text)).startswith(b"{"):
            raise BadRequestError(400, "invalid_shape", "The body is not a JSON object") from None
        return None


def output_elements(text: bytes) -> int | None:
    """Likewise of an answer's JSON; None if it is none, too."""
    try:
        return _elements(_answers.decode(text).outputs)
    except _INVALID:
        if _NOT_FINITE.search(text) is not None:
            return output_elements(_NOT_FINITE.sub(b"0", text))
        return None


def _elements(tensors: list[_Tensor]) -> int | None:
    total = 0
    for tensor in tensors:
        elements = 1
        for size in tensor.shape:
            elements *= size
            if not 0 <= elements <= MAX_ELEMENTS:
                return None
        total += elements
        if total > MAX_ELEMENTS:
            return None
    return total
