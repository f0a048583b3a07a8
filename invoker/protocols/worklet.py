"""The worklet protocol: `{"worklet_input": {"model_id", "input"}}` → `{"worklet_output", …}`."""

import codecs
from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from invoker.http.heads import RequestHead
from invoker.http.pieces import Body, Pieces, whole
from invoker.protocols.base import (
    JSON,
    NO_FIELDS,
    BadRequestError,
    Call,
    InvalidAnswerError,
    Outcome,
    Result,
    StreamReader,
    check_json,
)
from invoker.protocols.json_problem import Invalid, json_problem
from invoker.protocols.naming import find_name, renamed
from invoker.protocols.tags import checked_tags
from invoker.protocols.unique_keys import repeated_key
from shared.record import (
    MAX_TAGS,
    OVERFLOW_MODEL_ID,
    RESERVED_MODEL_ID,
    TAG_NAME,
    TAG_VALUE,
    ModelId,
    in_words,
)
from shared.sizes import measure

AnyJson = Annotated[
    msgspec.Raw,
    Meta(
        description="Any JSON, passed on as it stands: numbers beyond 2⁵³ keep all their digits.",
        examples=[[1, 2, 3, 4, 5]],
        extra_json_schema={"title": "any JSON"},
    ),
]


Tags = Annotated[
    dict[str, Annotated[str, Meta(extra_json_schema={"pattern": f"^{TAG_VALUE}$"})]],
    Meta(
        description="What this call is found and told apart by later; as headers `x-tag-NAME: value` say it, too.",
        examples=[{"team": "search"}],
        extra_json_schema={"maxProperties": MAX_TAGS, "propertyNames": {"pattern": f"^{TAG_NAME}$"}},
    ),
]


class WorkletInput(msgspec.Struct, frozen=True):
    """What to call, and with what."""

    model_id: ModelId
    input: AnyJson


class InvokeRequest(msgspec.Struct, frozen=True):
    """The body of `POST /invoke`; the upstream gets the same bytes."""

    worklet_input: WorkletInput
    tags: Tags | None = None


class InvokeAnswer(msgspec.Struct, frozen=True):
    """The answer to `POST /invoke`, whatever happens. Without success, `worklet_output` is null and
    `error_log` says why. `latency_ms` is the call's latency as it stands in the record."""

    worklet_output: AnyJson
    success: bool
    latency_ms: Annotated[float, Meta(ge=0, description="Milliseconds, exact to the microsecond.")]
    error_log: str


class UpstreamAnswer(msgspec.Struct, frozen=True):
    """What an upstream's 2xx body must hold; anything else in it is ignored."""

    worklet_output: msgspec.Raw


class LargeBodies(Protocol):
    """Where large bodies are read, while others have their turn. Both raise `ReaderDiedError`, too."""

    async def decode_request(self, body: Body) -> Call:
        """As the function of that name."""
        ...

    async def decode_answer(self, body: Body) -> Outcome:
        """Likewise."""
        ...


class Worklet:
    """Implements `Protocol`."""

    name = "worklet"
    passes = False
    routes = ("/invoke",)

    def __init__(self, large_bodies: LargeBodies) -> None:
        self._large_bodies = large_bodies

    def check(self, head: RequestHead) -> None:
        check_json(head.content_type)
        checked_tags(head.tags)

    def decode(self, head: RequestHead, body: bytes) -> Call:
        if head.content_type != JSON:
            check_json(head.content_type)
        call = decode_request(body)
        return _tagged(call, head) if head.tags else call

    async def decode_large(self, head: RequestHead, body: Body) -> Call:
        check_json(head.content_type)
        return _tagged(await self._large_bodies.decode_request(body), head)

    def renamed(self, call: Call, model_id: str) -> Call:
        return renamed(call, call.name or find_name(whole(call.body), *NAME), model_id)

    def reader(self, _call: Call, _fields: Mapping[bytes, bytes] = NO_FIELDS) -> "WorkletReader":
        return WorkletReader(self._large_bodies)

    def stream_reader(self, fields: Mapping[bytes, bytes], *, hides_usage: bool = False) -> StreamReader | None:
        raise NotImplementedError  # nothing of it passes

    def encode_event(self, result: Result) -> bytes:
        raise NotImplementedError  # likewise

    def encode(self, result: Result) -> Body:
        outcome = result.outcome
        output: Any = NULL if outcome is None else outcome.output
        answer = InvokeAnswer(output, outcome is not None, result.latency_us / 1000, result.error_log)
        return encode_answer(answer) if isinstance(output, Pieces) else _encoder.encode(answer)


def _tagged(call: Call, head: RequestHead) -> Call:
    return msgspec.structs.replace(call, tags=checked_tags(head.tags, call.tags))


class WorkletReader:
    """Implements `AnswerReader`: nothing is passed on before all of the answer is there."""

    __slots__ = ("_body", "_large_bodies")

    def __init__(self, large_bodies: LargeBodies) -> None:
        self._large_bodies = large_bodies

    def feed(self, chunk: Body) -> bytes:
        self._body = chunk
        return b""

    def finish(self) -> Outcome:
        assert isinstance(self._body, bytes)
        output, output_size = decode_answer(self._body)
        return Outcome(output, output_size)

    async def finish_large(self) -> Outcome:
        return await self._large_bodies.decode_answer(self._body)


BOM = codecs.BOM_UTF8
"""May stand before JSON and be ignored (RFC 8259, 8.1); not every upstream does."""
NULL = msgspec.Raw(b"null")
NAME = ("worklet_input", "model_id")
"""Where a request has it."""

_requests = msgspec.json.Decoder(InvokeRequest)
_answers = msgspec.json.Decoder(UpstreamAnswer)
_encoder = msgspec.json.Encoder()
_INVALID = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_request(body: bytes) -> Call:
    """The caller's body, checked. `BadRequestError` has status 400 for what is no JSON and 422 for JSON
    of another shape."""
    try:
        request = _requests.decode(body)
        worklet_input = request.worklet_input
        plain = _check_utf8(body)
        input_size = measure(worklet_input.input, plain=plain)
    except _INVALID as error:
        if body.startswith(BOM) and not body.startswith(BOM, len(BOM)):
            return decode_request(body[len(BOM) :])
        raise _bad_request(body, error) from None
    # A first look, for 0.3 µs: each key that is read stands there once, and no escape can hide another.
    once = body.count(b'model_id"') == 1 and body.count(b'input"') == 2
    if not once or (not plain and b"\\u" in body) or (request.tags and body.count(b'tags"') != 1):
        _check_keys(body, worklet_input)
    if worklet_input.model_id == OVERFLOW_MODEL_ID:
        raise BadRequestError(422, "invalid_shape", f"$.worklet_input.model_id: {RESERVED_MODEL_ID}")
    tags = checked_tags((), request.tags) if request.tags else None
    return Call(worklet_input.model_id, body, input_size, tags=tags)


def _check_keys(body: bytes, worklet_input: WorkletInput) -> None:
    if repeated := repeated_key(body, worklet_input.input):
        raise BadRequestError(422, "repeated_key", f"The body says {repeated}")


def _bad_request(body: bytes, error: Invalid) -> BadRequestError:
    if isinstance(error, msgspec.ValidationError):
        return BadRequestError(422, "invalid_shape", f"The body doesn't have the right shape: {in_words(error)}")
    return BadRequestError(400, "invalid_json", f"The body is not valid JSON: {json_problem(body, error)}")


def decode_answer(body: bytes) -> tuple[msgspec.Raw, int]:
    """The upstream's `worklet_output` as it stands in the body, and its size as recorded, or
    `InvalidAnswerError`."""
    try:
        output = _answers.decode(body).worklet_output
        return output, measure(output, plain=_check_utf8(body))
    except _INVALID as error:
        if body.startswith(BOM) and not body.startswith(BOM, len(BOM)):
            return decode_answer(body[len(BOM) :])
        raise InvalidAnswerError(json_problem(body, error)) from None


def encode_answer(answer: InvokeAnswer) -> Body:
    """JSON; in pieces, if the output is."""
    output: object = answer.worklet_output
    if not isinstance(output, Pieces):
        return _encoder.encode(answer)
    before, _, after = _encoder.encode(msgspec.structs.replace(answer, worklet_output=NULL)).partition(b"null")
    return Pieces([before, *output, after])


def _check_utf8(body: bytes) -> bool:
    """Whether it is ASCII without escapes. `UnicodeDecodeError` if it is no UTF-8, and so no JSON: the decoder
    doesn't look into the strings of what it leaves raw."""
    if body.isascii():
        return b"\\" not in body
    body.decode()
    return False
