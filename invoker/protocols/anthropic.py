"""Anthropic's protocol."""

from typing import ClassVar

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


class Anthropic(Passing):
    """Implements `Protocol`."""

    name = "anthropic"
    usage = staticmethod(anthropic_usage)
    operations: ClassVar = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
    routes = (*operations, "/v1/messages/{path:.*}")

    def encode_error(self, status: int, message: str) -> bytes:
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
