"""OpenAI's protocol, as far as its requests are JSON or a form that names a model."""

from typing import ClassVar

import msgspec

from invoker.protocols.passing import Passing
from invoker.protocols.usage import openai_usage

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class OpenAIErrorDetails(msgspec.Struct, frozen=True):
    """What its clients tell errors apart by, beside their statuses."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(msgspec.Struct, frozen=True):
    """An error as OpenAI's clients know it."""

    error: OpenAIErrorDetails


class OpenAI(Passing):
    """Implements `Protocol`."""

    name = "openai"
    usage = staticmethod(openai_usage)
    asks_usage = frozenset(("chat", "completions"))
    base_path = "/v1"
    takes_forms = True
    only_listed = ("/v1/models",)
    operations: ClassVar = {
        "/v1/chat/completions": "chat",
        "/v1/completions": "completions",
        "/v1/embeddings": "embeddings",
        "/v1/responses": "responses",
        "/v1/moderations": "moderations",
        "/v1/rerank": "rerank",
        "/v1/images/generations": "images_generations",
        "/v1/images/edits": "images_edits",
        "/v1/images/variations": "images_variations",
        "/v1/audio/speech": "audio_speech",
        "/v1/audio/transcriptions": "audio_transcriptions",
        "/v1/audio/translations": "audio_translations",
    }
    routes = (*operations, "/v1/{path:.*}")

    def encode_error(self, status: int, message: str) -> bytes:
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return msgspec.json.encode(OpenAIError(OpenAIErrorDetails(message, kind)))
