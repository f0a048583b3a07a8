"""KServe's protocol, version 2 (Open Inference Protocol): the model is in the path, and a body is JSON, or JSON of a
stated length with tensors in binary behind it."""

import asyncio
import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote

import msgspec

from invoker.http.heads import RequestHead
from invoker.http.passing import request_lines
from invoker.http.pieces import LARGE_BYTES, Body, Pieces, begin_of, whole
from invoker.protocols.base import NO_FIELDS, BadRequestError, Call, Outcome, ReaderDiedError, Result, check_json
from invoker.protocols.passing import USAGE_TIMEOUT_S, refuse_dots
from invoker.protocols.tags import checked_tags
from invoker.protocols.tensors import input_elements, output_elements
from shared.record import check_model_id

OCTETS = "application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
"""How many bytes of a body are JSON; without it, all. It counts unpacked ones."""
BEGIN = "/v2/models/"

_MODEL = BEGIN + "(?P<model>.+?)(?:/versions/[^/]+)?"
"""What follows the last `/versions/` is a version; a model that is called so has its slashes escaped."""
ASKED = re.compile(_MODEL + "(?:/ready|/config|/stats)?")
_INFER = re.compile(_MODEL + "/infer")
_LENGTH = re.compile("[0-9]{1,15}")


class KServeError(msgspec.Struct, frozen=True):
    """An error as KServe's clients know it."""

    error: str


class LargeBodies(Protocol):
    """Where much JSON is read, while others have their turn. Both raise `ReaderDiedError`, too."""

    async def input_elements(self, body: Body) -> int | None:
        """As the function of that name."""
        ...

    async def output_elements(self, body: Body) -> int | None:
        """Likewise."""
        ...


class Head(NamedTuple):
    """What a request's head says: its model, and how many bytes of its body are JSON; None: all."""

    model_id: str
    json_bytes: int | None


class KServe:
    """Implements `Protocol`."""

    name = "kserve"
    passes = True
    routes = (BEGIN + "{path:.*}",)

    def __init__(self, large_bodies: LargeBodies) -> None:
        self._large_bodies = large_bodies

    def check(self, head: RequestHead) -> None:
        _checked(head)

    def decode(self, head: RequestHead, body: bytes) -> Call:
        checked = _checked(head)
        text = _json_of(body, checked)
        return _call(head, checked, body, None if text is None else input_elements(whole(text)))

    async def decode_large(self, head: RequestHead, body: Body) -> Call:
        checked = _checked(head)
        text = _json_of(body, checked)
        if text is None or len(text) <= LARGE_BYTES:
            elements = None if text is None else input_elements(whole(text))
        else:
            elements = await self._large_bodies.input_elements(text)
        return _call(head, checked, body, elements)

    def renamed(self, call: Call, model_id: str) -> Call:
        return msgspec.structs.replace(call, target=renamed_target(call.target, _INFER, model_id))

    def reader(self, _call: Call, fields: Mapping[bytes, bytes] = NO_FIELDS) -> "KServeReader":
        return KServeReader(self._large_bodies, fields)

    def stream_reader(self, fields: Mapping[bytes, bytes], *, hides_usage: bool = False) -> None:
        """None: nothing of it streams."""

    def encode(self, result: Result) -> Body:
        if result.outcome is None:
            return msgspec.json.encode(KServeError(result.error_log))
        output = result.outcome.output
        return bytes(output) if isinstance(output, msgspec.Raw) else output

    def encode_event(self, result: Result) -> bytes:
        raise NotImplementedError  # nothing of it streams


class KServeReader:
    """Implements `AnswerReader`: the answer is the outcome, and its size that of its outputs."""

    __slots__ = ("_body", "_fields", "_large_bodies")

    def __init__(self, large_bodies: LargeBodies, fields: Mapping[bytes, bytes]) -> None:
        self._large_bodies = large_bodies
        self._fields = fields

    def feed(self, chunk: Body) -> bytes:
        self._body = chunk
        return b""

    def finish(self) -> Outcome:
        text = self._json()
        return self._outcome(None if text is None else output_elements(whole(text)))

    async def finish_large(self) -> Outcome:
        """With its bytes for a size if much JSON can't be read in time: the caller waits for its answer."""
        text = self._json()
        if text is None or len(text) <= LARGE_BYTES:
            return self.finish()
        try:
            async with asyncio.timeout(USAGE_TIMEOUT_S):
                return self._outcome(await self._large_bodies.output_elements(text))
        except (TimeoutError, ReaderDiedError, OSError):
            return self._outcome(None)

    def _json(self) -> Body | None:
        """None if it isn't known how much of the answer is JSON."""
        length = self._fields.get(HEADER_LENGTH, b"").decode("latin-1")
        if not length:
            return self._body
        if _LENGTH.fullmatch(length) is None or int(length) > len(self._body):
            return None
        return _part(self._body, int(length))

    def _outcome(self, elements: int | None) -> Outcome:
        return Outcome(self._body, len(self._body) if elements is None else elements)


def is_infer(path: str) -> bool:
    """Whether inferences are POSTed to this path, escaped as it came."""
    return _INFER.fullmatch(path) is not None


def asked_model(path: str) -> str:
    """The id in the path of a model's metadata, readiness, configuration or statistics, likewise escaped.
    `BadRequestError`."""
    matched = ASKED.fullmatch(path)
    if matched is None:
        raise BadRequestError(404, "not_found", f"GET {unquote(path)[:128]!r} is not served here")
    return _model_id(matched)


def renamed_target(target: str, paths: re.Pattern[str], model_id: str) -> str:
    """A path, with its query if it has one, that names this model."""
    matched = paths.fullmatch(target.partition("?")[0])
    assert matched is not None  # or nothing would be asked
    begin, end = matched.span("model")
    return target[:begin] + quote(model_id, safe="") + target[end:]


def _model_id(matched: re.Match[str]) -> str:
    """`BadRequestError` for what can't be one: such a model isn't known anywhere."""
    escaped = matched["model"]
    try:
        model_id = unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        raise BadRequestError(404, "unknown_model", f"{escaped[:64]!r} is no model id: it is not in UTF-8") from None
    if problem := check_model_id(model_id):
        raise BadRequestError(404, "unknown_model", problem)
    return model_id


def _checked(head: RequestHead) -> Head:
    content_type = head.content_type
    if content_type is not None and content_type.partition(";")[0].strip().lower() != OCTETS:
        _check_media_type(content_type)
    if head.tags:
        checked_tags(head.tags)
    target = head.target or head.path
    refuse_dots(target)
    path = target.partition("?")[0]
    matched = _INFER.fullmatch(path)
    if matched is None:
        message = f"POST {unquote(path)[:128]!r} is not served here; {BEGIN}MODEL/infer is, and /versions/VERSION in it"
        raise BadRequestError(404, "not_found", message)
    return Head(_model_id(matched), _json_bytes(head))


def _check_media_type(content_type: str) -> None:
    """So that no web form can invoke a model."""
    try:
        check_json(content_type)
    except BadRequestError as error:
        message = f"{error}, or {OCTETS} for tensors in binary"
        raise BadRequestError(error.status, error.reason, message) from None


def _json_bytes(head: RequestHead) -> int | None:
    said = head.fields.get(HEADER_LENGTH)
    if said is None:
        return None
    length = said.decode("latin-1")
    if _LENGTH.fullmatch(length) is None:
        message = f"Inference-Header-Content-Length {length[:64]!r} is no number of bytes"
        raise BadRequestError(400, "invalid_request", message)
    return int(length)


def _json_of(body: Body, head: Head) -> Body | None:
    """None if none of it is, and the whole body the only tensor."""
    length = head.json_bytes
    if length is None:
        return body
    if length > len(body):
        message = f"Inference-Header-Content-Length is {length}, and the body has only {len(body)} bytes"
        raise BadRequestError(400, "invalid_request", message)
    return _part(body, length) if length else None


def _part(body: Body, length: int) -> Body:
    """Its beginning; a large one isn't copied."""
    if length == len(body):
        return body
    if length <= LARGE_BYTES:
        return begin_of(body, length)
    return Pieces([memoryview(body)[:length]]) if isinstance(body, bytes) else body.part(0, length)


def _call(head: RequestHead, checked: Head, body: Body, elements: int | None) -> Call:
    return Call(
        checked.model_id,
        body,
        len(body) if elements is None else elements,
        target=head.target or head.path,
        headers=request_lines(head.fields),
        operation="infer",
        tags=checked_tags(head.tags) if head.tags else None,
    )
