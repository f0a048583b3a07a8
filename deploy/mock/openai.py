"""The mock server as OpenAI's: bodies of requests in, answers and events out. Neither sockets nor time."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from deploy.mock.streams import Event, StreamBehaviour, event
from deploy.mock.text import count_tokens, last_text, reply, text_of, tokens, tool_called

CREATED = 1_700_000_000
DIMENSIONS = 8
DONE = Event(b"[DONE]")
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
    )
).decode()

Limit = int | None


class Answered(msgspec.Struct, frozen=True):
    """What was said to a conversation, before it has a dialect's form."""

    pieces: list[str]
    tool: str | None
    cut: bool
    input_tokens: int

    @property
    def arguments(self) -> str:
        return msgspec.json.encode({"text": "".join(self.pieces)}).decode()

    @property
    def output(self) -> list[str]:
        """The tokens that count, whatever they are for."""
        return tokens(self.arguments) if self.tool else self.pieces


def answer(conversation: Any, tools: list[Any], limit: Limit) -> Answered:
    said = last_text(conversation)
    pieces, cut = reply(said, limit)
    contents = conversation if isinstance(conversation, list) else [conversation]
    return Answered(pieces, tool_called(tools, said), cut, count_tokens(*contents))


class ChatRequest(msgspec.Struct, frozen=True):
    """Of `POST /v1/chat/completions`, what is read."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Limit = None
    max_completion_tokens: Limit = None
    n: int | None = None
    tools: list[Any] | None = None

    @property
    def limit(self) -> Limit:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionRequest(msgspec.Struct, frozen=True):
    """Of `POST /v1/completions`, what is read."""

    model: str
    prompt: Any = ""
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Limit = None
    n: int | None = None
    tools: None = None

    @property
    def limit(self) -> Limit:
        return self.max_tokens

    @property
    def messages(self) -> Any:
        return self.prompt


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """Of `POST /v1/embeddings`, what is read."""

    model: str
    input: Any
    encoding_format: str | None = None
    dimensions: int | None = None


def failure(message: str, kind: str = "server_error") -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _finish_reason(answered: Answered) -> str:
    return "tool_calls" if answered.tool else "length" if answered.cut else "stop"


def _choices(request: ChatRequest | CompletionRequest) -> int:
    return request.n or 1


def _head(request: ChatRequest | CompletionRequest, number: int, *, chunk: bool) -> dict[str, Any]:
    if isinstance(request, CompletionRequest):
        return {"id": f"cmpl-{number}", "object": "text_completion", "created": CREATED, "model": request.model}
    kind = "chat.completion.chunk" if chunk else "chat.completion"
    return {"id": f"chatcmpl-{number}", "object": kind, "created": CREATED, "model": request.model}


def _tool_calls(answered: Answered, arguments: str, *, index: bool) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": answered.tool, "arguments": arguments}}
    return [{"index": 0, **call} if index else call]


def completion(request: ChatRequest | CompletionRequest, number: int) -> dict[str, Any]:
    """The whole answer to a chat or completion request."""
    answered = answer(request.messages, request.tools or [], request.limit)
    text = "".join(answered.pieces)
    reason = _finish_reason(answered)
    choices: list[dict[str, Any]] = []
    for index in range(_choices(request)):
        choice: dict[str, Any] = {"index": index, "finish_reason": reason, "logprobs": None}
        if isinstance(request, CompletionRequest):
            choice["text"] = text
        elif answered.tool:
            calls = _tool_calls(answered, answered.arguments, index=False)
            choice["message"] = {"role": "assistant", "content": None, "tool_calls": calls}
        else:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        choices.append(choice)
    counts = usage(answered.input_tokens, len(answered.output) * len(choices))
    return {**_head(request, number, chunk=False), "choices": choices, "usage": counts}


def completion_events(
    request: ChatRequest | CompletionRequest, number: int, behaviour: StreamBehaviour
) -> Iterator[Event]:
    """The same as chunks; choices take turns."""
    answered = answer(request.messages, request.tools or [], request.limit)
    head = _head(request, number, chunk=True)
    indices = range(_choices(request))
    sent = 0

    def chunk(choices: list[dict[str, Any]], count: int = 0) -> Event:
        nonlocal sent
        sent += count
        body = {**head, "choices": choices}
        last = behaviour.usage == "with_content" and sent == len(answered.output) * len(indices)
        if behaviour.usage == "each" or (last and count):
            body["usage"] = usage(answered.input_tokens, sent)
        return event(body, tokens=count)

    def choice(index: int, reason: str | None = None, **delta: Any) -> dict[str, Any]:
        if isinstance(request, CompletionRequest):
            return {"index": index, "text": delta.get("content", ""), "finish_reason": reason, "logprobs": None}
        return {"index": index, "delta": delta, "finish_reason": reason, "logprobs": None}

    if isinstance(request, ChatRequest):
        for index in indices:
            first: dict[str, Any] = {"role": "assistant", "content": "" if answered.tool is None else None}
            if answered.tool:
                first["tool_calls"] = _tool_calls(answered, "", index=True)
            yield chunk([choice(index, **first)])
    for piece in answered.output:
        for index in indices:
            delta: dict[str, Any] = {"content": piece}
            if answered.tool:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            yield chunk([choice(index, **delta)], 1)
    if behaviour.finish:
        for index in indices:
            yield chunk([choice(index, _finish_reason(answered))])
    if behaviour.usage == "as_asked" and (request.stream_options or {}).get("include_usage"):
        yield event({**head, "choices": [], "usage": usage(answered.input_tokens, sent)})
    if behaviour.done:
        yield DONE


def embeddings(request: EmbeddingsRequest) -> dict[str, Any]:
    """A vector for each input, the same for the same one."""
    inputs = request.input if isinstance(request.input, list) and not _are_tokens(request.input) else [request.input]
    size = request.dimensions or DIMENSIONS
    data: list[dict[str, Any]] = []
    for index, each in enumerate(inputs):
        encoded = msgspec.json.encode(each)
        vector = [(encoded[at % len(encoded)] - 64) / 64 for at in range(size)]
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        shown = packed if request.encoding_format == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    count = count_tokens(*inputs)
    used = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": request.model, "usage": used}


def _are_tokens(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(each, int) for each in value)


def moderation(model: str) -> dict[str, Any]:
    """Nothing is ever flagged."""
    result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    return {"id": "modr-1", "model": model, "results": [result]}


def rerank(model: str, query: Any, documents: list[Any]) -> dict[str, Any]:
    """The longest first, as good an order as any."""
    scores = [(len(text_of(each)), index) for index, each in enumerate(documents)]
    results = [
        {"index": index, "relevance_score": score / (score + 1)}
        for score, index in sorted(scores, key=lambda scored: (-scored[0], scored[1]))
    ]
    total = count_tokens(query, *documents)
    return {"id": "rerank-1", "model": model, "results": results, "usage": {"total_tokens": total}}


def image() -> dict[str, Any]:
    """One pixel."""
    return {"created": CREATED, "data": [{"b64_json": PIXEL}]}


def model(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": CREATED, "owned_by": "mock"}
