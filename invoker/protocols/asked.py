"""What is read of a request whose body goes through as it is: `model`, and whether it asks for a stream."""

import msgspec

from invoker.protocols.base import BadRequestError
from invoker.protocols.json_problem import json_problem
from invoker.protocols.unique_keys import first_repeated
from shared.record import OVERFLOW_MODEL_ID, RESERVED_MODEL_ID, ModelId, in_words

_NOTHING = msgspec.Raw(b"")


class Asked(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A request, as far as it is read. `streamed`: its `stream` is `true`, and nothing that only looks like it."""

    model_id: str
    streamed: bool = False


class _Request(msgspec.Struct, frozen=True):
    """What isn't a model's name is for the upstream to refuse."""

    model: ModelId
    stream: msgspec.Raw = _NOTHING


_requests = msgspec.json.Decoder(_Request)


def decode_asked(body: bytes) -> Asked:
    """What a request asks for. `BadRequestError` for what is none."""
    try:
        request = _requests.decode(body)
        twice = first_repeated(body) if _may_repeat(body) else None
    except msgspec.ValidationError as error:
        message = f"The body doesn't have the right shape: {in_words(error)}"
        raise BadRequestError(400, "invalid_shape", message) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not valid JSON: {json_problem(body, error)}"
        raise BadRequestError(400, "invalid_json", message) from None
    if twice:
        raise BadRequestError(400, "repeated_key", f"The body says {twice}")
    if request.model == OVERFLOW_MODEL_ID:
        raise BadRequestError(400, "invalid_shape", f"$.model: {RESERVED_MODEL_ID}")
    return Asked(request.model, bytes(request.stream) == b"true")


def _may_repeat(body: bytes) -> bool:
    """A first look: whether what is read may stand there twice, or an escape hide it."""
    return body.count(b'"model"') != 1 or body.count(b'"stream"') > 1 or b"\\u" in body
