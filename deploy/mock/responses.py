"""The mock server's Responses API, as OpenAI's: bodies of requests in, answers and events out."""

from collections.abc import Iterator
from typing import Any

import msgspec

from deploy.mock.openai import CREATED, Limit, answer
from deploy.mock.streams import Event, StreamBehaviour, event
from deploy.mock.text import tokens


class ResponsesRequest(msgspec.Struct, frozen=True):
    """Of `POST /v1/responses`, what is read."""

    model: str
    input: Any = ""
    stream: bool | None = None
    max_output_tokens: Limit = None


def response(request: ResponsesRequest, number: int, *, done: bool = True) -> dict[str, Any]:
    """The whole answer to a request of the Responses API; or, not done, as it is when it begins."""
    answered = answer(request.input, [], request.max_output_tokens)
    output_tokens = len(answered.output)
    counts = {
        "input_tokens": answered.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answered.input_tokens + output_tokens,
    }
    status = "in_progress" if not done else "incomplete" if answered.cut else "completed"
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": request.model,
        "output": [_item(number, "".join(answered.pieces), status)] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": counts if done else None,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _item(number: int, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {"id": f"msg_{number}", "type": "message", "status": status, "role": "assistant", "content": content}


def response_events(request: ResponsesRequest, number: int, behaviour: StreamBehaviour) -> Iterator[Event]:
    """The same as events; the last one has the usage."""
    sequence = 0

    def tell(name: str, count: int = 0, **fields: Any) -> Event:
        nonlocal sequence
        body = {"type": f"response.{name}", "sequence_number": sequence, **fields}
        sequence += 1
        return event(body, f"response.{name}", count)

    begun = response(request, number, done=False)
    whole = response(request, number)
    (item,) = whole["output"]
    text = item["content"][0]["text"]
    place: dict[str, Any] = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    yield tell("created", response=begun)
    yield tell("in_progress", response=begun)
    yield tell("output_item.added", output_index=0, item=_item(number, None, "in_progress"))
    yield tell("content_part.added", **place, part=_part(""))
    for piece in tokens(text):
        yield tell("output_text.delta", 1, **place, delta=piece, logprobs=[])
    if behaviour.finish:
        yield tell("output_text.done", **place, text=text, logprobs=[])
        yield tell("content_part.done", **place, part=_part(text))
        yield tell("output_item.done", output_index=0, item=item)
        if behaviour.usage == "never":
            whole["usage"] = None
        yield tell(whole["status"], response=whole)
