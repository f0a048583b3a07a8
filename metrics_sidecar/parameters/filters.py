"""Filters of single invocations, as parameters: of the history and of all that has the same."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.history.queries import HistoryFilter, Status
from metrics_sidecar.parameters.decoding import allowed_values
from shared.clock import TIMESTAMPS, parse_timestamp
from shared.problems import InvalidParameterError
from shared.record import MAX_MODEL_ID_CHARS, MODEL_ID_PATTERN, ErrorType, ErrorWord

MAX_MODELS = 100
MAX_ERROR_TYPES = 64
MAX_LATENCY_MS = 9_007_199_254_740  # 2⁵³ µs: up to here floats tell microseconds apart

TIMESTAMP_SCHEMA = {"anyOf": [{"format": "date-time"}, {"pattern": r"^[0-9]{1,11}(\.[0-9]{1,6})?$"}]}

Latency = Annotated[float, Meta(ge=0, le=MAX_LATENCY_MS)]


ModelPattern = Annotated[str, Meta(min_length=1, max_length=2 * MAX_MODEL_ID_CHARS + 1, pattern=MODEL_ID_PATTERN)]
"""As long as a model id of 256 backslashes is with its escapes; `split_models` looks at the length of what is meant."""

ModelPatterns = Annotated[
    list[ModelPattern],
    Meta(
        min_length=1,
        max_length=MAX_MODELS,
        description="Only these models; may be repeated. A `*` at the end stands for all that begins so, "
        r"`\*` there for a `*` itself, and `\\*` for all that begins with what ends in a `\`: 1 to 256 characters, "
        "no control characters.",
        examples=[["gpt-3.5"]],
    ),
]


class FilterParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which invocations are wanted: those that match all of it."""

    model_id: ModelPatterns | UnsetType = UNSET
    status: Annotated[Status, Meta(description="Only successes or only failures.")] | UnsetType = UNSET
    error_type: (
        Annotated[
            list[ErrorWord],
            Meta(
                min_length=1,
                max_length=MAX_ERROR_TYPES,
                description=f"Only failures of these types: {', '.join(ErrorType)}, or what gateways of a "
                "later release have recorded; may be repeated.",
                examples=[["timeout"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    since: (
        Annotated[
            str,
            Meta(
                description=f"Not before this moment: {TIMESTAMPS}.",
                examples=["2024-01-15T10:30:00Z"],
                extra_json_schema=TIMESTAMP_SCHEMA,
            ),
        ]
        | UnsetType
    ) = UNSET
    until: (
        Annotated[
            str,
            Meta(
                description=f"Before this moment: {TIMESTAMPS}.",
                examples=["2024-01-16T00:00:00Z"],
                extra_json_schema=TIMESTAMP_SCHEMA,
            ),
        ]
        | UnsetType
    ) = UNSET
    min_latency_ms: Annotated[Latency, Meta(description="None faster, to the µs.")] | UnsetType = UNSET
    max_latency_ms: Annotated[Latency, Meta(description="None slower, to the µs.")] | UnsetType = UNSET
    error_contains: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=256,
                pattern="^[^\\x00]*\\Z",
                description="Only failures with this in their `error_log`, case-sensitive: 1 to 256 characters.",
                examples=["No answer"],
            ),
        ]
        | UnsetType
    ) = UNSET


def to_filter(parameters: FilterParameters) -> HistoryFilter:
    """What the store is asked. `InvalidParameterError` where the parameters contradict each other."""
    since_us = _timestamp("since", parameters.since)
    until_us = _timestamp("until", parameters.until)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise InvalidParameterError("since", str(parameters.since), f"a moment not after until, {parameters.until}")
    if parameters.status == "success" and (parameters.error_type or parameters.error_contains):
        raise InvalidParameterError("status", "success", "failure or nothing beside error_type and error_contains")
    least, most = _microseconds(parameters.min_latency_ms), _microseconds(parameters.max_latency_ms)
    if least is not None and most is not None and least > most:
        allowed = f"no more than max_latency_ms, {parameters.max_latency_ms:g}"
        raise InvalidParameterError("min_latency_ms", f"{parameters.min_latency_ms:g}", allowed)
    models, prefixes = split_models(parameters.model_id or [])
    return HistoryFilter(
        models=tuple(sorted(models)),
        prefixes=tuple(sorted(prefixes)),
        status=parameters.status or None,
        error_types=tuple(sorted(set(parameters.error_type or ()))),
        since_us=since_us,
        until_us=until_us,
        min_latency_us=least,
        max_latency_us=most,
        error_contains=parameters.error_contains or "",
    )


def split_models(patterns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Model ids and prefixes of ids, each once; none of either where all models are meant.
    `InvalidParameterError` for what is longer than an id can be."""
    models: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for pattern in patterns:
        text, is_prefix = _unescape(pattern)
        if len(text) > MAX_MODEL_ID_CHARS:
            raise InvalidParameterError(
                "model_id", pattern, f"1 to {MAX_MODEL_ID_CHARS} characters, no control characters"
            )
        (prefixes if is_prefix else models)[text] = None
    return ((), ()) if "" in prefixes else ((*models,), (*prefixes,))


def _unescape(pattern: str) -> tuple[str, bool]:
    """The text that is meant, and whether ids begin with it. Only before a `*` at the end does a backslash escape."""
    if not pattern.endswith("*"):
        return pattern, False
    text = pattern[:-1].rstrip("\\")
    backslashes = len(pattern) - 1 - len(text)
    text += "\\" * (backslashes // 2)
    return (f"{text}*", False) if backslashes % 2 else (text, True)


def _timestamp(name: str, text: str | UnsetType) -> int | None:
    if text is UNSET:
        return None
    try:
        return parse_timestamp(text)
    except ValueError:
        raise InvalidParameterError(name, text, allowed_values(FilterParameters, name)) from None


def _microseconds(milliseconds: float | UnsetType) -> int | None:
    return None if milliseconds is UNSET else round(milliseconds * 1000)
