"""What dialects have in common whose bodies go through as they are: of a request little is read."""

import asyncio
import re
from collections.abc import Container, Mapping, Sequence
from typing import ClassVar, Protocol
from urllib.parse import unquote

import msgspec

from invoker.http.heads import RequestHead
from invoker.http.passing import request_lines
from invoker.http.pieces import Body, begin_of, whole
from invoker.protocols.asked import Asked, decode_asked
from invoker.protocols.base import JSON, NO_FIELDS, BadRequestError, Call, Outcome, ReaderDiedError, Result, check_json
from invoker.protocols.events import EventReader
from invoker.protocols.forms import boundary_of, decode_form, is_form
from invoker.protocols.naming import find_name, renamed
from invoker.protocols.sound import SoundReader, is_sound
from invoker.protocols.tags import checked_tags
from invoker.protocols.usage import Meaning, find_report

USAGE_TIMEOUT_S = 10.0
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
EVENTS = b"text/event-stream"
OTHER_OPERATION = "other"
"""So that no caller can make up as many as it likes."""


class LargeBodies(Protocol):
    """Where large bodies are read, while others have their turn."""

    async def decode_asked(self, body: Body) -> Asked:
        """As the function of that name, or `ReaderDiedError`."""
        ...

    async def decode_form(self, body: Body, boundary: bytes) -> Asked:
        """Likewise."""
        ...

    async def find_report(self, body: Body) -> bytes:
        """Likewise."""
        ...


class Passing:
    """Implements `Protocol` but for what a dialect says of itself. `base_path`: the beginning of its paths that its
    upstreams' base URLs have already; `operations`: by path, how records call what is asked for;
    `takes_forms`: whether a request may be a form; `usage`: what its answers' reports of it mean;
    `asks_usage`: operations whose streams report it only if they are asked to."""

    passes = True
    name: ClassVar[str]
    routes: ClassVar[Sequence[str]]
    base_path: ClassVar[str] = ""
    operations: ClassVar[Mapping[str, str]]
    takes_forms: ClassVar[bool] = False
    only_listed: ClassVar[tuple[str, ...]] = ()
    usage: ClassVar[Meaning]
    asks_usage: ClassVar[Container[str]] = ()

    def __init__(self, large_bodies: LargeBodies) -> None:
        self._large_bodies = large_bodies

    def check(self, head: RequestHead) -> None:
        self._checked(head)

    def decode(self, head: RequestHead, body: bytes) -> Call:
        boundary = self._checked(head)
        asked = decode_asked(body) if boundary is None else decode_form(body, boundary)
        return self._call(head, asked, body)

    async def decode_large(self, head: RequestHead, body: Body) -> Call:
        boundary = self._checked(head)
        if boundary is None:
            asked = await self._large_bodies.decode_asked(body)
        else:
            asked = await self._large_bodies.decode_form(body, boundary)
        return self._call(head, asked, body)

    def _checked(self, head: RequestHead) -> bytes | None:
        """What a form's parts are told apart by; None for JSON."""
        content_type, boundary = head.content_type, None
        if content_type != JSON:
            if content_type is not None and self.takes_forms and is_form(content_type):
                boundary = boundary_of(content_type)
            else:
                check_json(content_type)
        if head.tags:
            checked_tags(head.tags)
        refuse_dots(head.target)
        if head.path.startswith(self.only_listed):
            raise BadRequestError(405, "method_not_allowed", "Models are only listed", b"Allow: GET, HEAD\r\n")
        return boundary

    def _call(self, head: RequestHead, asked: Asked, body: Body) -> Call:
        target = head.target or head.path
        operation = self.operations.get(target.partition("?")[0], OTHER_OPERATION)
        target = target.removeprefix(self.base_path)
        headers = request_lines(head.fields)
        tags = checked_tags(head.tags) if head.tags else None
        asking = asked.asking if operation in self.asks_usage else None
        return Call(
            *(asked.model_id, body, len(body), target, headers, operation, asked.streamed, tags, asking, asked.name)
        )

    def renamed(self, call: Call, model_id: str) -> Call:
        return renamed(call, call.name or find_name(whole(call.body), "model"), model_id)

    def reader(self, _call: Call, _fields: Mapping[bytes, bytes] = NO_FIELDS) -> "PassingReader":
        return PassingReader(type(self).usage, self._large_bodies)

    def stream_reader(
        self, fields: Mapping[bytes, bytes], *, hides_usage: bool = False
    ) -> EventReader | SoundReader | None:
        if fields.get(b"content-type", b"").lower().startswith(EVENTS):
            return EventReader(type(self).usage, hides_usage=hides_usage)
        return SoundReader() if is_sound(fields) else None

    def encode_event(self, result: Result) -> bytes:
        if not result.of_events:
            return b""
        return b"event: error\ndata: %b\n\n" % self.encode_error(result.status, result.error_log)

    def encode(self, result: Result) -> Body:
        if result.outcome is None:
            return self.encode_error(result.status, result.error_log)
        output = result.outcome.output
        return bytes(output) if isinstance(output, msgspec.Raw) else output

    def encode_error(self, status: int, message: str) -> bytes:
        """What the dialect's clients take for an error."""
        raise NotImplementedError


def refuse_dots(target: str) -> None:
    """`BadRequestError` for a path that another server might resolve to one that isn't meant for callers."""
    if _DOT.search(target) is not None:
        path = unquote(target.partition("?")[0])
        if any(segment in (".", "..") for segment in path.replace("\\", "/").split("/")):
            raise BadRequestError(404, "not_found", "Paths with dot segments are not served")


class PassingReader:
    """Implements `AnswerReader`: the answer is the outcome, and if it is JSON, its usage is looked up."""

    __slots__ = ("_body", "_large_bodies", "_meaning")

    def __init__(self, meaning: Meaning, large_bodies: LargeBodies) -> None:
        self._meaning = meaning
        self._large_bodies = large_bodies

    def feed(self, chunk: Body) -> bytes:
        self._body = chunk
        return b""

    def finish(self) -> Outcome:
        body = self._body
        return self._outcome(find_report(body if isinstance(body, bytes) else b"".join(body)))

    async def finish_large(self) -> Outcome:
        """Without its usage if that can't be read in time: the caller waits for its answer."""
        if not begin_of(self._body, 64).lstrip().startswith(b"{"):
            return self._outcome(b"")
        try:
            async with asyncio.timeout(USAGE_TIMEOUT_S):
                return self._outcome(await self._large_bodies.find_report(self._body))
        except (TimeoutError, ReaderDiedError, OSError):
            return self._outcome(b"")

    def _outcome(self, report: bytes) -> Outcome:
        usage = self._meaning(report, b"") if report else None
        return Outcome(self._body, len(self._body), usage)
