"""Anthropic's protocol."""

from typing import ClassVar, Literal

import msgspec

from invoker.protocols.passing import Passing
from invoker.protocols.usage import anthropic_usage

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class AnthropicErrorDetails(msgspec.Struct, frozen=True):
    """What its clients tell errors apart by, beside their statuses."""

    type: str
    message: str


class AnthropicError(msgspec.Struct, frozen=True):
    """An error as Anthropic's clients know it."""

    error: AnthropicErrorDetails
    type: Literal["error"] = "error"


class Anthropic(Passing):
    """Implements `Protocol`."""

    name = "anthropic"
    usage = staticmethod(anthropic_usage)
    operations: ClassVar = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
    routes = (*operations, "/v1/messages/{path:.*}")

    def encode_error(self, status: int, message: str) -> bytes:
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return msgspec.json.encode(AnthropicError(AnthropicErrorDetails(kind, message)))
