"""The mock server as Anthropic's: bodies of requests in, answers and events out. Neither sockets nor time."""

from collections.abc import Iterator
from typing import Any

import msgspec

from deploy.mock.openai import Answered, Limit, answer
from deploy.mock.streams import Event, StreamBehaviour, event
from deploy.mock.text import count_tokens


class MessagesRequest(msgspec.Struct, frozen=True):
    """Of `POST /v1/messages`, what is read."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: Limit = None
    system: Any = None
    stream: bool | None = None
    tools: list[Any] | None = None

    @property
    def input_tokens(self) -> int:
        return count_tokens(self.system, *self.messages)


def failure(message: str, kind: str = "api_error") -> dict[str, Any]:
    """The body of an error, and of an error event."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def _stop_reason(answered: Answered) -> str:
    return "tool_use" if answered.tool else "max_tokens" if answered.cut else "end_turn"


def _message(
    request: MessagesRequest, number: int, content: list[Any], reason: str | None, output: int
) -> dict[str, Any]:
    counts = {
        "input_tokens": request.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
    }
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": counts,
    }


def message(request: MessagesRequest, number: int) -> dict[str, Any]:
    """The whole answer."""
    answered = answer(request.messages, request.tools or [], request.max_tokens)
    text = "".join(answered.pieces)
    block: dict[str, Any] = {"type": "text", "text": text}
    if answered.tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": answered.tool, "input": {"text": text}}
    return _message(request, number, [block], _stop_reason(answered), len(answered.output))


def message_events(request: MessagesRequest, number: int, behaviour: StreamBehaviour) -> Iterator[Event]:
    """The same as events: usage of the input comes first, that of the output last."""
    answered = answer(request.messages, request.tools or [], request.max_tokens)

    def tell(name: str, count: int = 0, **fields: Any) -> Event:
        return event({"type": name, **fields}, name, count)

    begun = _message(request, number, [], None, 1)
    if behaviour.usage == "never":
        begun["usage"] = {"input_tokens": 0, "output_tokens": 0}
    block: dict[str, Any] = {"type": "text", "text": ""}
    if answered.tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": answered.tool, "input": {}}
    yield tell("message_start", message=begun)
    yield tell("content_block_start", index=0, content_block=block)
    yield tell("ping")
    for piece in answered.output:
        delta = {"type": "text_delta", "text": piece}
        if answered.tool:
            delta = {"type": "input_json_delta", "partial_json": piece}
        yield tell("content_block_delta", 1, index=0, delta=delta)
    yield tell("content_block_stop", index=0)
    if behaviour.finish:
        counts = {"output_tokens": 0 if behaviour.usage == "never" else len(answered.output)}
        reason = {"stop_reason": _stop_reason(answered), "stop_sequence": None}
        yield tell("message_delta", delta=reason, usage=counts)
        yield tell("message_stop")


def model(model_id: str) -> dict[str, Any]:
    return {"type": "model", "id": model_id, "display_name": model_id, "created_at": "2023-11-14T22:13:20Z"}
