"""What is recorded of the official clients' calls, beside how they ended: which call it was, and what it took, as the
client itself is told."""

from typing import Any

import pytest

from tests.clients.calls import STREAMED, TEXTS, WHOLE, each_dialect, streamed_calls, texts, whole_calls
from tests.clients.stack import Stack

OPERATIONS = {
    "chat": "chat",
    "tool": "chat",
    "completion": "completions",
    "response": "responses",
    "message": "messages",
    "claudes-tool": "messages",
    "embeddings": "embeddings",
    "moderation": "moderations",
    "image": "images_generations",
    "count": "count_tokens",
    "beta": "messages",
}
FIRST = ("prompt_tokens", "input_tokens")
LAST = ("completion_tokens", "output_tokens")


def told(usage: Any, names: tuple[str, ...]) -> int | None:
    """Of what a client shows of an answer, a number under whichever name its API has."""
    return next((getattr(usage, name) for name in names if hasattr(usage, name)), None)


@whole_calls
def test_what_a_call_was(stack: Stack, name: str) -> None:
    """And the tokens that it took, which are the client's; what nobody told is null."""
    call, model_id = WHOLE[name], f"told-{name}"
    with call.client(stack) as client:
        usage = getattr(call.make(client, model_id), "usage", None)
    row = stack.record(model_id)
    assert (row["protocol"], row["operation"], row["streamed"]) == (call.dialect, OPERATIONS[name], False)
    assert (row["status_code"], row["attempts"]) == (200, 1)
    assert stack.tap.url.endswith(row["upstream"])
    assert (row["input_tokens"], row["output_tokens"]) == (told(usage, FIRST), told(usage, LAST))
    assert row["time_to_first_token_ms"] is None


@streamed_calls
@pytest.mark.parametrize("usage", ["as_asked", "each", "with_content"])
def test_what_a_stream_took(stack: Stack, name: str, usage: str) -> None:
    """The same as of a whole answer, however the model server reports it; and when its first output came."""
    call, model_id = STREAMED[name], f"took-{name}-{usage}"
    stack.behave(model_id, stream={"usage": usage, "first_token_s": 0.05, "tokens_per_second": 100})
    with call.client(stack) as client, call.direct(stack) as direct:
        list(call.make(client, model_id, stream=True))
        took = call.make(direct, model_id).usage
    row = stack.record(model_id)
    assert (row["protocol"], row["operation"], row["streamed"]) == (call.dialect, OPERATIONS[name], True)
    assert (row["input_tokens"], row["output_tokens"]) == (told(took, FIRST), told(took, LAST))
    first_ms = 0 if "tool" in name else 50  # a tool's name is output, too, and comes at once
    assert first_ms < row["time_to_first_token_ms"] <= row["latency_ms"]
    assert 0 <= row["time_per_output_token_ms"] <= row["latency_ms"]  # 0 of tokens that were read at once


@texts
def test_what_a_stream_took_that_was_cut(stack: Stack, name: str) -> None:
    """What was reported until then, which in Anthropic's dialect is the input."""
    call, model_id = TEXTS[name], f"took-cut-{name}"
    stack.behave(model_id, stream={"end_after_tokens": 2, "finish": False, "done": False})
    with call.client(stack) as client, pytest.raises(Exception, match="its stream ended before"):
        list(call.make(client, model_id, stream=True))
    row = stack.record(model_id)
    assert row["error_type"] == "invalid_response"
    assert row["input_tokens"] == (4 if name == "message" else None)
    assert row["time_to_first_token_ms"] is not None


@each_dialect
def test_usage_that_is_not_told(stack: Stack, name: str) -> None:
    """Is null, not nothing."""
    call, model_id = WHOLE[name], f"untold-{name}"
    stack.behave(model_id, stream={"usage": "never"})
    with call.client(stack) as client:
        call.make(client, model_id)
    row = stack.record(model_id)
    tokens = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cost_usd")
    assert [row[field] for field in tokens] == [None] * 5


@each_dialect
@pytest.mark.parametrize("status", [400, 429, 503])
def test_an_upstreams_status(stack: Stack, name: str, status: int) -> None:
    """Is recorded as it came."""
    call, model_id = WHOLE[name], f"status-{name}-{status}"
    stack.fail(model_id, status)
    with call.client(stack) as client, pytest.raises(Exception, match="mock failure"):
        call.make(client, model_id)
    row = stack.record(model_id)
    assert (row["status_code"], row["error_type"], row["output_tokens"]) == (status, "upstream_status", None)


@each_dialect
@pytest.mark.parametrize("stream", [False, True])
def test_tags(stack: Stack, name: str, stream: bool) -> None:
    """Are recorded, and the model server isn't told."""
    call, model_id = WHOLE[name], f"tagged-{name}-{stream}"
    tags = {"x-tag-Team": f"search {name}", "x-tag-run": str(stream)}
    with call.client(stack, default_headers={"x-tag-run": "another"}) as client:
        answer = call.make(client, model_id, stream=stream, extra_headers=tags)
        if stream:
            list(answer)
    row = stack.record(model_id)
    assert row["tags"] == {"team": f"search {name}", "run": str(stream)}
    (request,) = stack.tap.requests(model_id)
    assert [header for header in request.headers if header.lower().startswith("x-tag-")] == []


@each_dialect
@pytest.mark.parametrize(
    "tags",
    [
        {f"x-tag-{number}": "v" for number in range(9)},
        {"x-tag-team": "v" * 65},
        {"x-tag-te.am": "v"},
        {"x-tag-team": ""},
    ],
    ids=["too many", "too long", "a name", "empty"],
)
def test_tags_that_are_refused(stack: Stack, name: str, tags: dict[str, str]) -> None:
    """By name, and before anything is called."""
    call, recorded = WHOLE[name], stack.total()
    with call.client(stack) as client, pytest.raises(Exception, match="Tag '") as caught:
        call.make(client, f"refused-{name}", extra_headers=tags)
    assert type(caught.value).__name__ == "BadRequestError"
    assert stack.total() == recorded
    assert stack.tap.requests(f"refused-{name}") == []
