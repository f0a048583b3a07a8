"""The stretch of time that statistics are asked for, as parameters."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metrics_sidecar.history.windows import Window, parse_duration, window_before
from metrics_sidecar.parameters.decoding import allowed_values
from metrics_sidecar.parameters.filters import TIMESTAMP_SCHEMA, ModelPatterns, split_models
from shared.clock import TIMESTAMPS, parse_timestamp
from shared.problems import InvalidParameterError

DURATION_PATTERN = "^[1-9][0-9]{0,8}[smhdw]\\Z"


class WindowParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which models, and of which time."""

    model_id: ModelPatterns | UnsetType = UNSET
    window: (
        Annotated[
            str,
            Meta(
                pattern=DURATION_PATTERN,
                description="The time up to now, its begin rounded down to a minute (to 10 minutes from a day on, to "
                "an hour from a week on): a number and s, m, h, d or w, at most ten years.",
                examples=["5m"],
            ),
        ]
        | UnsetType
    ) = UNSET
    since: (
        Annotated[
            str,
            Meta(
                description=f"Not before this moment, instead of a window: {TIMESTAMPS}.",
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
                description=f"Before this moment, now without it: {TIMESTAMPS}.",
                examples=["2024-01-16T00:00:00Z"],
                extra_json_schema=TIMESTAMP_SCHEMA,
            ),
        ]
        | UnsetType
    ) = UNSET


def to_window(parameters: WindowParameters, now_us: int, length_us: int | None = None) -> Window | None:
    """None without any time. Without `since` so long, or from the beginning on.
    `InvalidParameterError` where the parameters contradict each other."""
    if parameters.window is not UNSET:
        for name, given in (("since", parameters.since), ("until", parameters.until)):
            if given is not UNSET:
                raise InvalidParameterError(name, given, "nothing beside a window")
        return window_before(now_us, _duration_us(parameters.window))
    if parameters.since is UNSET and parameters.until is UNSET:
        return None
    if parameters.until is UNSET:
        since_us = _timestamp_us("since", parameters.since)
        return Window(since_us, max(since_us, now_us))
    until_us = _timestamp_us("until", parameters.until)
    if parameters.since is UNSET:
        return Window(0 if length_us is None else max(until_us - length_us, 0), until_us)
    since_us = _timestamp_us("since", parameters.since)
    if since_us > until_us:
        raise InvalidParameterError("since", str(parameters.since), f"a moment not after until, {parameters.until}")
    return Window(since_us, until_us)


def remedy_for(parameters: WindowParameters, *more: str) -> str:
    """What to change about statistics that take too long, of what is given or can be added."""
    models, prefixes = split_models(parameters.model_id or ())
    remedies = [*more]
    if not (models or prefixes):
        remedies.append("add a model_id")
    elif len(models) > 1 or prefixes:
        remedies.append("ask for fewer models")
    if any(given is not UNSET for given in (parameters.window, parameters.since, parameters.until)):
        remedies.append("choose a shorter time range")
    return f"{' or '.join(remedies).capitalize()}." if remedies else "Ask again later."


def _duration_us(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError:
        raise InvalidParameterError("window", text, allowed_values(WindowParameters, "window")) from None


def _timestamp_us(name: str, text: str | UnsetType) -> int:
    """Nothing was before 1970."""
    try:
        return max(parse_timestamp(str(text)), 0)
    except ValueError:
        raise InvalidParameterError(name, str(text), allowed_values(WindowParameters, name)) from None
