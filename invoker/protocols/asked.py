"""What is read of a request whose body goes through as it is: `model`, and whether it asks for a stream, and in a chat
for the stream's usage."""

import msgspec

from invoker.protocols.base import BadRequestError, Name, Splice
from invoker.protocols.json_problem import json_problem
from invoker.protocols.unique_keys import first_repeated, place_of
from shared.record import OVERFLOW_MODEL_ID, RESERVED_MODEL_ID, ModelId, in_words

_NOTHING = msgspec.Raw(b"")
_ASKING = b'{"include_usage":true}'


class Asked(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A request, as far as it is read. `streamed`: its `stream` is `true`, and nothing that only looks like it;
    `asking`: what would have it ask for usage, too; `name`: where the model stands, if that is known already."""

    model_id: str
    streamed: bool = False
    asking: Splice | None = None
    name: Name | None = None


class _Request(msgspec.Struct, frozen=True):
    """What isn't a model's name is for the upstream to refuse."""

    model: ModelId
    stream: msgspec.Raw = _NOTHING
    stream_options: msgspec.Raw = _NOTHING


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
    if bytes(request.stream) != b"true":
        return Asked(request.model)
    return Asked(request.model, streamed=True, asking=_asking(body, bytes(request.stream_options)))


def _asking(body: bytes, options: bytes) -> Splice | None:
    """What makes `stream_options` ask for usage; None if they do, or aren't what they should be: the upstream says so
    then."""
    if not options:
        begin = body.index(b"{") + 1
        return Splice(begin, begin, b'"stream_options":%b,' % _ASKING)
    place = place_of(body, "stream_options")
    if place is None:
        return None
    begin, end = place
    if options == b"null":
        return Splice(begin, end, _ASKING)
    if not options.startswith(b"{"):
        return None
    if not options[1:-1].strip():
        return Splice(begin + 1, begin + 1, _ASKING[1:-1])
    if first_repeated(options):
        return None
    place = place_of(options, "include_usage")
    if place is None:
        return Splice(begin + 1, begin + 1, _ASKING[1:-1] + b",")
    if options[slice(*place)] in (b"false", b"null"):
        return Splice(begin + place[0], begin + place[1], b"true")
    return None


def _may_repeat(body: bytes) -> bool:
    """A first look: whether what is read may stand there twice, or an escape hide it."""
    if body.count(b'"model"') != 1 or b"\\u" in body:
        return True
    return body.count(b'"stream') > 1 and (body.count(b'"stream"') > 1 or body.count(b'"stream_options"') > 1)
