"""What a protocol is that callers and upstreams speak: bytes in, a `Call` and answers out; no socket and no clock.

A dialect that streams fits in like this. Its `decode` finds in the body that a stream is wanted. Its reader's `feed`
is given each piece of the upstream's answer as it comes, and returns what the caller gets of it at once; on the way it
notes what only it can see, such as the first output and the usage, and it holds back how the stream ends. `finish`
tells what to record, and hands over what was held back: that is sent once the record is in the journal. `encode` is for
answers of which nothing has been sent. What such dialects know more of calls and outcomes are further fields of these,
with defaults.

BadRequestError      the caller's request is none: HTTP status, the word that it is counted by, and a sentence
InvalidAnswerError   the upstream's body is no answer
ReaderDiedError      a body could not be read, and the gateway is at fault; the message may be told
"""

import typing
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from invoker.http.heads import RequestHead
from invoker.http.pieces import Body, Pieces

NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})
READ_TIMEOUT_S = 60.0
"""So long may the reading of one body take; what takes longer hangs."""
JSON = "application/json"
JSON_LINES = b"Content-Type: application/json\r\nAccept: application/json\r\n"
"""What an upstream is told of a body that is made, or checked, here."""


class BadRequestError(Exception):
    """The request can't be understood. `headers`: whole lines for its answer."""

    def __init__(self, status: int, reason: str, message: str, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.headers = headers


class InvalidAnswerError(Exception):
    """The upstream's answer can't be understood."""


class ReaderDiedError(Exception):
    """What reads bodies ended, or hung, before it had read one."""


class Splice(msgspec.Struct, frozen=True, array_like=True):
    """What takes the place of some bytes of a body."""

    begin: int
    end: int
    text: bytes

    def put_into(self, body: Body) -> Body:
        """A body with it. A large one isn't copied."""
        if isinstance(body, bytes):
            return b"%b%b%b" % (body[: self.begin], self.text, body[self.end :])
        return Pieces([*body.part(0, self.begin), self.text, *body.part(self.end, len(body))])


class Name(msgspec.Struct, frozen=True, array_like=True):
    """Where a body says which model is called; `quoted`: as JSON."""

    begin: int
    end: int
    quoted: bool = True


class Call(msgspec.Struct, frozen=True):
    """A request that was understood: where to, the body to pass on, and the input's size as recorded. `target`: the
    path and query that its upstream's URL goes on with; `headers`: whole lines to send along; `streamed`: whether it
    asks for a stream; `asking`: what asks for the stream's usage, too, if the caller doesn't; `name`: where the body
    says the model, if that is known already; `falls_back`: whether another model may take its place;
    `priority`: a higher one goes first."""

    model_id: str
    body: Body
    input_size: int
    target: str = ""
    headers: bytes = JSON_LINES
    operation: str = "invoke"
    streamed: bool = False
    tags: dict[str, str] | None = None
    asking: Splice | None = None
    name: Name | None = None
    falls_back: bool = True
    priority: int = 0


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The tokens that an upstream says an answer took; null where it doesn't. Cached ones are a part of the input,
    those of reasoning one of the output."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an upstream's answer came to: the output as it stands in there, its size as recorded, and what it took."""

    output: msgspec.Raw | Body
    output_size: int
    usage: Usage | None = None


class Result(msgspec.Struct, frozen=True, gc=False):
    """What a caller is told: HTTP status, whole header lines, and the outcome, or why there is none. `latency_us` is
    the call's as it stands in the record; 0 if it was no call. An upstream's error that is passed on is an outcome.
    `of_events`: a stream of them is what it is the end of, if it is one's."""

    status: int
    outcome: Outcome | None
    error_log: str = ""
    latency_us: int = 0
    headers: bytes = b""
    media_type: bytes = JSON.encode()
    of_events: bool = True


class AnswerReader(typing.Protocol):
    """Reads the 2xx answer of one attempt."""

    def feed(self, chunk: Body) -> bytes:
        """The next piece of its body, or all of it if it isn't streamed: what the caller gets at once."""
        ...

    def finish(self) -> Outcome:
        """After the last piece. `InvalidAnswerError`."""
        ...

    async def finish_large(self) -> Outcome:
        """The same, if there was more than `LARGE_BYTES`: others have their turn meanwhile. `ReaderDiedError`, too."""
        ...


class StreamReader(typing.Protocol):
    """Reads a stream that goes through. `size`: bytes that have come, but for what its caller doesn't get. `complete`:
    something said that the answer is whole; `ended`: its last event is here, good or bad, and no more is wanted;
    `held`: what the caller gets once it is recorded. `first_output_us`, `last_output_us`: when events came that bring
    some of the answer. `of_events`: it is one of server-sent events."""

    of_events: bool
    size: int
    complete: bool
    ended: bool
    held: bytes
    first_output_us: int | None
    last_output_us: int | None

    @property
    def usage(self) -> Usage | None:
        """As far as it was reported, whatever became of the stream."""
        ...

    def feed(self, chunk: bytes, now_us: int) -> bytes:
        """The next piece, and when it came: what the caller gets at once, of events that are whole."""
        ...

    def end(self, now_us: int) -> None:
        """No more comes."""
        ...

    def check(self) -> None:
        """`InvalidAnswerError` if an event said that the answer failed."""
        ...


class Protocol(typing.Protocol):
    """One dialect. `name`: as the models file says it. `routes`: the paths to which its requests are POSTed; one that
    ends in `{path:.*}` stands for all that begin so and are of no other dialect. `passes`: the upstream's status,
    headers and body go on to the caller whatever they are."""

    @property
    def name(self) -> str: ...

    @property
    def passes(self) -> bool: ...

    @property
    def routes(self) -> Sequence[str]: ...

    def check(self, head: RequestHead) -> None:
        """`BadRequestError` for what a head alone shows to be wrong: its body isn't asked for then."""
        ...

    def decode(self, head: RequestHead, body: bytes) -> Call:
        """The call that a request asks for. `BadRequestError`, also for what `check` refuses."""
        ...

    async def decode_large(self, head: RequestHead, body: Body) -> Call:
        """The same, of a body of more than `LARGE_BYTES`: others have their turn meanwhile. `ReaderDiedError`, too."""
        ...

    def renamed(self, call: Call, model_id: str) -> Call:
        """The same call, as an upstream is told it that knows the model by this name."""
        ...

    def reader(self, call: Call, fields: Mapping[bytes, bytes] = NO_FIELDS) -> AnswerReader:
        """For a 2xx answer with these headers."""
        ...

    def stream_reader(self, fields: Mapping[bytes, bytes], *, hides_usage: bool = False) -> StreamReader | None:
        """For a 2xx answer with these headers, if the dialect `passes`; None for one to be waited for until it is
        whole: the upstream decides that. `hides_usage`: it was asked for with `Call.asking`."""
        ...

    def encode(self, result: Result) -> Body:
        """A whole answer, or the dialect's own error body."""
        ...

    def encode_event(self, result: Result) -> bytes:
        """The dialect's own error, for a stream that has begun; nothing if it has no place for one."""
        ...


def check_json(content_type: str | None) -> None:
    """JSON by any of its names, or none; `BadRequestError` for another, so that no web form can invoke a model."""
    if content_type is None:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json")):
        return
    raise BadRequestError(
        415,
        "unsupported_media_type",
        f"Content-Type {content_type[:128]!r} is not supported; send application/json",
    )
