"""What an HTTP API says of an error (RFC 9457), and the mistake of a caller that any layer may find."""

import msgspec

PROBLEM_MEDIA_TYPE = "application/problem+json"
INVALID_PARAMETER = "urn:problem:invalid-parameter"
NO_TYPE = "about:blank"
MAX_ECHOED_CHARS = 128


class ProblemDetails(msgspec.Struct, omit_defaults=True):
    """Why a request failed (RFC 9457). `parameter`, `value` and `allowed` are there where one
    parameter is at fault, or `allowed` alone where the method is."""

    type: str
    title: str
    status: int
    detail: str = ""
    parameter: str = ""
    value: str = ""
    allowed: str = ""


class InvalidParameterError(Exception):
    """One parameter is not what it may be: which, its value (clipped), and what is allowed. The message says all."""

    def __init__(self, parameter: str, value: str, allowed: str, detail: str = "") -> None:
        self.parameter, self.value, self.allowed = clip(parameter), clip(value), allowed
        super().__init__(detail or f"{self.parameter} is {self.value!r}; allowed: {allowed}.")


def clip(text: str) -> str:
    """At most 128 characters of what a caller sent, to be shown to it again."""
    return text if len(text) <= MAX_ECHOED_CHARS else f"{text[: MAX_ECHOED_CHARS - 1]}…"
