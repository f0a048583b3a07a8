"""Filters of single invocations, as parameters: of the history and of all that has the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.history.queries import OF_FAILURES, HistoryFilter, Status, Term
from metrics_sidecar.parameters.decoding import allowed_values
from shared.clock import TIMESTAMPS, parse_timestamp
from shared.fields import Contains, Equal, Field, Range
from shared.problems import InvalidParameterError
from shared.record import (
    FIELDS,
    MAX_MODEL_ID_CHARS,
    MAX_TAGS,
    MODEL_ID_PATTERN,
    Count,
    ErrorType,
    ErrorWord,
    TagName,
    TagValue,
)

MAX_MODELS = 100
MAX_ERROR_TYPES = 64
MAX_LATENCY_MS = 9_007_199_254_740  # 2⁵³ µs: up to here floats tell microseconds apart

TIMESTAMP_SCHEMA = {"anyOf": [{"format": "date-time"}, {"pattern": r"^[0-9]{1,11}(\.[0-9]{1,6})?$"}]}

Latency = Annotated[float, Meta(ge=0, le=MAX_LATENCY_MS)]

Part = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[^\\x00]*\\Z")]
"""Of a text."""


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


class CommonParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    tag: (
        Annotated[
            dict[TagName, TagValue],
            Meta(
                max_length=MAX_TAGS,
                description="Only calls that were tagged so; for several names those with all of them: "
                f"`tag.NAME=value`, at most {MAX_TAGS}, NAME 1 to 64 lower-case letters, digits, - or _, value 1 to 64 "
                "characters, no control characters.",
                examples=[{"tag.team": "search"}],
            ),
        ]
        | UnsetType
    ) = UNSET


class Asked(msgspec.Struct, frozen=True):
    """A parameter that a field has, and what it asks of it. `scale`: of its unit, in those of the record."""

    name: str
    type: Any
    field: str
    is_: Literal["equal", "least", "most", "contains"]
    scale: int = 1


def asked_of(field: Field) -> list[Asked]:
    """By its kind of filter, see `Told`."""
    match field.told.filter:
        case Range(least, most):
            shown, scale = field.shown_name, 1000 if field.told.unit == "us" else 1
            type_: Any = Latency if field.told.unit == "us" else Count
            return [
                Asked(f"min_{shown}", Annotated[type_, Meta(description=least)], field.name, "least", scale),
                Asked(f"max_{shown}", Annotated[type_, Meta(description=most)], field.name, "most", scale),
            ]
        case Contains(parameter, help_, example):
            return [
                Asked(parameter, Annotated[Part, Meta(description=help_, examples=[example])], field.name, "contains")
            ]
        case Equal(help_, example):
            type_ = Annotated[_bounded(field), Meta(description=help_, examples=[example])]
            return [Asked(field.name, type_, field.name, "equal")]
    return []


def _bounded(field: Field) -> Any:
    """What the field may be, where it is there."""
    declared = field.type.__origin__  # of its `Annotated`
    return next((one for one in get_args(declared) if one is not type(None)), field.type)


def with_asked(name: str, base: type[msgspec.Struct], asked: Sequence[Asked]) -> type[msgspec.Struct]:
    """Parameters with those of fields behind them."""
    members = [(one.name, one.type | UnsetType, UNSET) for one in asked]
    doc = {"__doc__": base.__doc__}
    return msgspec.defstruct(
        name, members, bases=(base,), namespace=doc, frozen=True, kw_only=True, forbid_unknown_fields=True
    )


ASKED = [asked for field in FIELDS for asked in asked_of(field)]

if TYPE_CHECKING:
    FilterParameters = CommonParameters
else:
    FilterParameters = with_asked("FilterParameters", CommonParameters, ASKED)


def to_filter(parameters: FilterParameters) -> HistoryFilter:
    """What the store is asked. `InvalidParameterError` where the parameters contradict each other."""
    since_us = _timestamp("since", parameters.since)
    until_us = _timestamp("until", parameters.until)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise InvalidParameterError("since", str(parameters.since), f"a moment not after until, {parameters.until}")
    tags = sorted((parameters.tag or {}).items())
    terms = (*to_terms(parameters, ASKED), *(Term("tags", "has", f"{name}={value}") for name, value in tags))
    models, prefixes = split_models(parameters.model_id or [])
    wanted = HistoryFilter(
        models=tuple(sorted(models)),
        prefixes=tuple(sorted(prefixes)),
        status=parameters.status or None,
        error_types=tuple(sorted(set(parameters.error_type or ()))),
        since_us=since_us,
        until_us=until_us,
        terms=terms,
    )
    if wanted.status == "success" and wanted.is_of_failures:
        beside = ["error_type", *(asked.name for asked in ASKED if asked.field in OF_FAILURES)]
        raise InvalidParameterError("status", "success", f"failure or nothing beside {' and '.join(beside)}")
    return wanted


def to_terms(parameters: msgspec.Struct, asked: Sequence[Asked]) -> tuple[Term, ...]:
    """What parameters ask of fields. `InvalidParameterError` where a least value is above a most."""
    terms: list[Term] = []
    least: tuple[str, float] = ("", 0)
    for one in asked:
        value = getattr(parameters, one.name)
        if one.is_ == "least":
            least = one.name, -1 if value is UNSET else value
        elif one.is_ == "most" and value is not UNSET and value < least[1]:
            raise InvalidParameterError(least[0], f"{least[1]:g}", f"no more than {one.name}, {value:g}")
        if value is not UNSET:
            terms.append(Term(one.field, one.is_, value if isinstance(value, str) else round(value * one.scale)))
    return tuple(terms)


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
