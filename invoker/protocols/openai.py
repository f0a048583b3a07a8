"""OpenAI's protocol, as far as its requests are JSON that names a model."""

import msgspec

from invoker.protocols.passing import Passing

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class OpenAI(Passing):
    """Implements `Protocol`."""

    name = "openai"
    base_path = "/v1"
    routes = (
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"),
        *("/v1/moderations", "/v1/rerank", "/v1/images/generations", "/v1/{path:.*}"),
    )

    def encode_error(self, status: int, message: str) -> bytes:
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": None}})
