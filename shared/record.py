"""The record of one finished invocation: the fact that history, statistics and counters are made of."""

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.fields import Contains, Equal, Range, Told, read_fields

MAX_MODEL_ID_CHARS = 256
MAX_ERROR_LOG_BYTES = 2048
MAX_COUNT = 2**63 - 1  # what SQLite and msgpack hold
MAX_TIMESTAMP_US = 253_402_300_799_999_999  # the end of the year 9999, the last that RFC 3339 can say

OVERFLOW_MODEL_ID = "__overflow__"
"""The label that stands for all models beyond the sidecar's cap; no caller may use it."""

RESERVED_MODEL_ID = f"{OVERFLOW_MODEL_ID!r} is reserved for the models beyond the sidecar's cap"

MODEL_ID_PATTERN = "^[^\\x00-\\x1f\\x7f-\\x9f]+\\Z"  # no control characters

ModelId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_MODEL_ID_CHARS,
        pattern=MODEL_ID_PATTERN,
        description="Which model to call: 1 to 256 characters, no control characters.",
        examples=["gpt-3.5"],
    ),
]

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]

TraceId = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{32}\\Z",
        description="The trace that the call belongs to: 32 hex digits, from its caller's W3C `traceparent`.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    ),
]


RequestId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern="^[!-~]+\\Z",
        description="Its caller's `x-request-id`, 1 to 128 visible ASCII characters, or one made by the gateway.",
        examples=["7d0a6b1f4c2e98a35be01d77"],
    ),
]


Protocol = Annotated[
    str,
    Meta(
        pattern="^[a-z][a-z0-9_]{0,31}\\Z",
        description="How it was called: worklet, openai, anthropic, kserve, or what a later release speaks.",
        examples=["openai"],
    ),
]

Operation = Annotated[
    str,
    Meta(
        pattern="^[a-z][a-z0-9_]{0,63}\\Z",
        description="What was asked for, as its path says it: invoke, chat, completions, embeddings, responses, …",
        examples=["chat"],
    ),
]

MAX_UPSTREAM_NAME_CHARS = 128

UpstreamName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_UPSTREAM_NAME_CHARS,
        pattern="^[!-~]+\\Z",
        description="The upstream that answered, or was tried last: host and port, or a socket's path.",
        examples=["127.0.0.1:8001"],
    ),
]

StatusCode = Annotated[int, Meta(ge=100, le=599)]

MAX_TAGS = 8
MAX_TAG_CHARS = 64
TAG_NAME = f"[a-z0-9_-]{{1,{MAX_TAG_CHARS}}}"
TAG_VALUE = f"[^\\x00-\\x1f\\x7f-\\x9f]{{1,{MAX_TAG_CHARS}}}"
TagName = Annotated[str, Meta(pattern=f"^{TAG_NAME}\\Z")]
TagValue = Annotated[str, Meta(pattern=f"^{TAG_VALUE}\\Z")]
Tags = Annotated[
    dict[TagName, TagValue],
    Meta(
        max_length=MAX_TAGS,
        description=f"Up to {MAX_TAGS} names and values of its caller's.",
        examples=[{"team": "search"}],
    ),
]


class ErrorType(enum.StrEnum):
    """Why an invocation failed, in the field's terms. Stored by name: never rename one. A later release may know more:
    its words are kept as they are, see `ErrorWord`."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    UPSTREAM_STATUS = "upstream_status"
    INVALID_RESPONSE = "invalid_response"
    CLIENT_DISCONNECTED = "client_disconnected"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    GATEWAY_DIED = "gateway_died"
    GATEWAY_ERROR = "gateway_error"


ErrorWord = Annotated[
    str,
    Meta(
        pattern="^[a-z][a-z0-9_]{0,63}\\Z",
        description=f"Why it failed: {', '.join(ErrorType)}, or what a gateway of a later release calls it.",
        examples=["timeout"],
    ),
]
"""An `ErrorType`, or a word of a later release."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One invocation, ended; and the table of its fields (see `shared.fields`). Times in µs (`timestamp_us`: accepted,
    since 1970 UTC), sizes as `measure` gives them; `error_type` is None for a success. New fields go last, with
    defaults: one that an older gateway has written has fewer, and one of a newer gateway, which has more, is not taken
    for what it isn't. (It holds nothing that could refer to it, so it is none of the garbage collector's business.)"""

    model_id: Annotated[ModelId, Told(help="Which model was called.", few=True, example="gpt-3.5")]
    timestamp_us: Annotated[
        int,
        Meta(ge=0, le=MAX_TIMESTAMP_US),
        Told(help="When it was accepted.", unit="timestamp_us", example=1_705_314_600_000_000),
    ]
    latency_us: Annotated[
        Count,
        Told(
            help="From the last byte of the request to the last byte of the answer.",
            unit="us",
            filter=Range("None faster, to the µs.", "None slower, to the µs."),
            summed=True,
            example=150_000,
        ),
    ]
    error_type: Annotated[ErrorWord | None, Told(help="null for a success.", few=True, of_failures=True)] = None
    error_log: Annotated[
        str,
        Meta(max_length=MAX_ERROR_LOG_BYTES),
        Told(
            help="Why it failed; empty for a success.",
            filter=Contains(
                "error_contains",
                "Only failures with this in their `error_log`, case-sensitive: 1 to 256 characters.",
                "No answer",
            ),
            of_failures=True,
            example="",
        ),
    ] = ""
    input_size: Annotated[Count, Told(help="Of the input.", summed=True, example=5)] = 0
    output_size: Annotated[Count, Told(help="Of the output.", summed=True, example=5)] = 0
    trace_id: Annotated[
        TraceId | None, Told(help="From the caller's `traceparent`; null without one.", digits=True)
    ] = None
    request_id: Annotated[
        RequestId | None,
        Told(
            help="From the caller's `x-request-id`, or made; null in records of gateways before there was any.",
            filter=Equal("Only the invocation of this request: 1 to 128 visible ASCII characters.", "checkout-4711"),
            digits=True,
            example="7d0a6b1f4c2e98a35be01d77",
        ),
    ] = None
    # What follows is null in records of gateways that didn't tell it yet.
    protocol: Annotated[
        Protocol | None,
        Told(
            help="The protocol of its caller.",
            filter=Equal("Only calls by this protocol: worklet, openai, anthropic, kserve, or another word.", "openai"),
            few=True,
            example="worklet",
        ),
    ] = None
    operation: Annotated[
        Operation | None,
        Told(
            help="What was asked for.",
            filter=Equal("Only calls of this operation: invoke, chat, embeddings, messages, or another word.", "chat"),
            few=True,
            example="invoke",
        ),
    ] = None
    streamed: Annotated[
        bool | None,
        Told(
            help="Whether a stream was asked for, or came.",
            filter=Equal("Only streams, or only what was none.", "true"),
            example=False,
        ),
    ] = None
    upstream: Annotated[
        UpstreamName | None,
        Told(
            help="Which one answered, or was tried last; null if none was.",
            filter=Equal("Only calls of this upstream: 1 to 128 visible ASCII characters.", "127.0.0.1:8001"),
            few=True,
            example="127.0.0.1:8001",
        ),
    ] = None
    status_code: Annotated[
        StatusCode | None,
        Told(
            help="The HTTP status that the upstream answered with; null if it didn't.",
            filter=Equal("Only calls that were answered so.", "429"),
            example=200,
        ),
    ] = None
    attempts: Annotated[
        Count | None, Told(help="How often an upstream was tried; null if the gateway died over it.", example=1)
    ] = None
    fallback_from: Annotated[
        ModelId | None, Told(help="The model that was asked for, where another one took its place.", few=True)
    ] = None
    time_to_first_token_us: Annotated[
        Count | None,
        Told(
            help="Of a stream: from its acceptance to its first output; null if there was none.",
            unit="us",
            filter=Range("None that was faster with its first output.", "None that was slower with it."),
        ),
    ] = None
    time_per_output_token_us: Annotated[
        Count | None,
        Told(
            help="Of a stream: from its first output to its last, by its output tokens less one; null of fewer than 2.",
            unit="us",
        ),
    ] = None
    input_tokens: Annotated[
        Count | None, Told(help="As the upstream has reported them, else null.", summed=True, counted=True)
    ] = None
    cached_input_tokens: Annotated[
        Count | None,
        Told(help="Which of the input tokens were read from a cache, as reported.", summed=True, counted=True),
    ] = None
    output_tokens: Annotated[
        Count | None, Told(help="As the upstream has reported them, else null.", summed=True, counted=True)
    ] = None
    reasoning_tokens: Annotated[
        Count | None, Told(help="Which of the output tokens were reasoning, as reported.", summed=True, counted=True)
    ] = None
    cost_nano_usd: Annotated[
        Count | None,
        Told(
            help="In US dollars, exact, by the prices that its model had then; null without them.",
            unit="nano_usd",
            summed=True,
            counted=True,
        ),
    ] = None
    tags: Annotated[Tags | None, Told(help="Its caller's `x-tag-…`; null without any.")] = None
    queue_us: Annotated[
        Count | None,
        Told(
            help="How long it waited for room, which is a part of its latency; null where its model has no queue.",
            unit="us",
            filter=Range("None that waited less.", "None that waited longer."),
        ),
    ] = None

    @property
    def success(self) -> bool:
        return self.error_type is None

    @property
    def usage_missing(self) -> bool:
        """Whether tokens were used, and nothing said how many."""
        return (
            self.operation in METERED
            and self.error_type is None
            and self.input_tokens is None
            and self.output_tokens is None
        )


METERED = frozenset({"chat", "completions", "embeddings", "responses", "messages"})
"""Operations whose successes report tokens. Rows are counted again by it: no other without counting theirs."""

FIELDS = read_fields(Record)
"""The table: what each field is. INSERT, SELECT, rows, filters and the columns of files derive from it."""

SUMMED = tuple(field.name for field in FIELDS if field.told.summed)
"""What is added up over time."""

COUNTED = tuple(field.name for field in FIELDS if field.told.counted)
"""What of it is also known since the beginning."""


def clip_error_log(text: str) -> str:
    """At most 2 KiB of UTF-8, cut between characters, whatever bytes the text came from."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_ERROR_LOG_BYTES:
        return encoded.decode()
    return encoded[: MAX_ERROR_LOG_BYTES - 3].decode("utf-8", "ignore") + "…"


def in_words(error: msgspec.ValidationError) -> str:
    """What is wrong with a value, without the pattern of a model id: nobody is to read that."""
    return str(error).replace(f"matching regex {MODEL_ID_PATTERN!r}", "without control characters")


def check_model_id(model_id: str) -> str | None:
    """What is wrong with a model id that comes from elsewhere than a decoded message, or None."""
    if model_id == OVERFLOW_MODEL_ID:
        return RESERVED_MODEL_ID
    try:
        msgspec.convert(model_id, ModelId)
    except msgspec.ValidationError as error:
        return f"{model_id[:64]!r} is no model id: {in_words(error)}"
    return None
