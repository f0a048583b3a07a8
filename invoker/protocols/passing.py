"""What dialects have in common whose bodies go through as they are: of a request little is read."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol
from urllib.parse import unquote

import msgspec

from invoker.http.heads import RequestHead
from invoker.http.passing import request_lines
from invoker.http.pieces import Body
from invoker.protocols.asked import Asked, decode_asked
from invoker.protocols.base import JSON, BadRequestError, Call, Outcome, Result, check_json
from invoker.protocols.events import EventReader
from invoker.protocols.forms import boundary_of, decode_form, is_form

OTHER_OPERATION = "other"
"""So that no caller can make up as many as it likes."""


class LargeBodies(Protocol):
    """Where large bodies are read, while others have their turn."""

    async def decode_asked(self, body: Body) -> Asked:
        """As the function of that name, or `ReaderDiedError`."""
        ...

    async def decode_form(self, body: Body, boundary: bytes) -> str:
        """Likewise."""
        ...


class Passing:
    """Implements `Protocol` but for what a dialect says of itself. `base_path`: the beginning of its paths that its
    upstreams' base URLs have already; `operations`: by path, how records call what is asked for;
    `takes_forms`: whether a request may be a form."""

    passes = True
    name: ClassVar[str]
    routes: ClassVar[Sequence[str]]
    base_path: ClassVar[str] = ""
    operations: ClassVar[Mapping[str, str]]
    takes_forms: ClassVar[bool] = False

    def __init__(self, large_bodies: LargeBodies) -> None:
        self._large_bodies = large_bodies

    def check(self, head: RequestHead) -> None:
        if self._boundary(head) is None:
            check_json(head.content_type)
        path = unquote(head.target.partition("?")[0])
        if any(segment in (".", "..") for segment in path.replace("\\", "/").split("/")):
            raise BadRequestError(404, "not_found", "Paths with dot segments are not served")

    def decode(self, head: RequestHead, body: bytes) -> Call:
        self.check(head)
        boundary = self._boundary(head)
        asked = decode_asked(body) if boundary is None else Asked(decode_form(body, boundary))
        return self._call(head, asked, body)

    async def decode_large(self, head: RequestHead, body: Body) -> Call:
        self.check(head)
        boundary = self._boundary(head)
        if boundary is None:
            asked = await self._large_bodies.decode_asked(body)
        else:
            asked = Asked(await self._large_bodies.decode_form(body, boundary))
        return self._call(head, asked, body)

    def _boundary(self, head: RequestHead) -> bytes | None:
        """Of a form; None for what is none, or isn't taken here."""
        content_type = head.content_type
        if content_type is None or content_type == JSON or not self.takes_forms or not is_form(content_type):
            return None
        return boundary_of(content_type)

    def _call(self, head: RequestHead, asked: Asked, body: Body) -> Call:
        target = head.target or head.path
        operation = self.operations.get(target.partition("?")[0], OTHER_OPERATION)
        target = target.removeprefix(self.base_path)
        headers = request_lines(head.fields)
        return Call(asked.model_id, body, len(body), target, headers, operation, asked.streamed)

    def reader(self, _call: Call) -> "PassingReader":
        return PassingReader()

    def stream_reader(self) -> EventReader:
        return EventReader()

    def encode_event(self, result: Result) -> bytes:
        return b"event: error\ndata: %b\n\n" % self.encode_error(result.status, result.error_log)

    def encode(self, result: Result) -> Body:
        if result.outcome is None:
            return self.encode_error(result.status, result.error_log)
        output = result.outcome.output
        return bytes(output) if isinstance(output, msgspec.Raw) else output

    def encode_error(self, status: int, message: str) -> bytes:
        """What the dialect's clients take for an error."""
        raise NotImplementedError


class PassingReader:
    """Implements `AnswerReader`: the answer is the outcome."""

    __slots__ = ("_body",)

    def feed(self, chunk: Body) -> bytes:
        self._body = chunk
        return b""

    def finish(self) -> Outcome:
        return Outcome(self._body, len(self._body))

    async def finish_large(self) -> Outcome:
        return self.finish()
