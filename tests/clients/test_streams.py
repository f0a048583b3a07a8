"""Streams: an official client gets through the gateway each event that it gets without, and each call is one record."""

import json
from typing import Any

import pytest

from tests.clients.calls import (
    ASKS,
    ASKS_USAGE,
    CHAT,
    CLAUDES_TOOLS,
    COMPLETION,
    MESSAGE,
    RESPONSE,
    SAYS,
    STREAMED,
    TEXTS,
    TOOL,
    TOOLS,
    Call,
    shown,
    streamed_calls,
    text_in,
    texts,
    up_to_text,
)
from tests.clients.stack import Stack

TEXT = "one two three four"


def direct_events(stack: Stack, call: Call, model_id: str) -> list[str]:
    with call.direct(stack) as direct:
        return list(map(shown, call.make(direct, model_id, stream=True)))


@streamed_calls
def test_each_event_comes(stack: Stack, name: str) -> None:
    """As it comes from the model server itself; a success of as many bytes as went by."""
    call, model_id = STREAMED[name], f"stream-{name}"
    with call.client(stack) as client, call.make(client, model_id, stream=True) as events:
        got = list(map(shown, events))
    assert got == direct_events(stack, call, model_id)
    row = stack.record(model_id)
    assert (row["success"], row["error_type"]) == (True, None)
    assert row["output_size"] > 0


@streamed_calls
async def test_an_asynchronous_client(stack: Stack, name: str) -> None:
    """Gets the same, and its calls are recorded alike."""
    call, model_id = STREAMED[name], f"async-stream-{name}"
    async with call.async_client(stack) as client, await call.make(client, model_id, stream=True) as events:
        got = [shown(event) async for event in events]
    assert got == direct_events(stack, call, model_id)
    assert stack.record(model_id)["success"] is True


@streamed_calls
def test_bytes_go_through_as_they_are(stack: Stack, name: str) -> None:
    """Of the request and of each event, where the caller asks for all that its model server can say."""
    call, model_id = STREAMED[name], f"stream-bytes-{name}"
    odd: dict[str, Any] = {"zz": [1.0, 1e22, 123456789012345678901234567890], "aa": {"b": 1, "a": 2}}
    if call in (CHAT, TOOL, COMPLETION):
        odd["stream_options"] = {"include_usage": True, "else": 1.0}
    stack.behave(model_id, stream={"pieces": "one", "comments": True, "line_end": "crlf"})
    with call.client(stack) as client:
        raw = call.make_raw(client, model_id, stream=True, extra_body=odd)
        body = b"".join(raw.http_response.iter_bytes())
    (request,) = stack.tap.requests(model_id)
    assert request.body == raw.http_request.content
    assert stack.tap.said(body)
    assert stack.record(model_id)["output_size"] == len(body)


@streamed_calls
def test_usage_is_asked_for_and_nothing_else(stack: Stack, name: str) -> None:
    """Where a caller leaves it out and the dialect has it: the rest of the body is the caller's, to the byte."""
    call, model_id = STREAMED[name], f"asking-{name}"
    with call.client(stack) as client:
        raw = call.make_raw(client, model_id, stream=True)
        raw.http_response.read()
    (request,) = stack.tap.requests(model_id)
    assert request.body.count(ASKS_USAGE) == (call in (CHAT, TOOL, COMPLETION))
    assert request.body.replace(ASKS_USAGE, b"") == raw.http_request.content
    assert stack.record(model_id)["input_size"] == len(raw.http_request.content)


def test_usage_is_not_asked_for(stack: Stack) -> None:
    """Where the models file says so: the body is the caller's."""
    with CHAT.client(stack) as client:
        raw = CHAT.make_raw(client, "as-is/1", stream=True)
        raw.http_response.read()
    (request,) = stack.tap.requests("as-is/1")
    assert request.body == raw.http_request.content
    assert stack.record("as-is/1")["output_tokens"] is None


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("name", ["chat", "completion"])
def test_usage_comes_to_who_asks(stack: Stack, name: str, asked: bool) -> None:
    """In one chunk without a choice; others get no such chunk, which some clients don't expect."""
    call, model_id = STREAMED[name], f"usage-{name}-{asked}"
    more = {"stream_options": {"include_usage": True}} if asked else {}
    with call.client(stack) as client, call.make(client, model_id, stream=True, **more) as events:
        usages = [event.usage for event in events if not event.choices]
    assert [usage.completion_tokens for usage in usages] == ([4] if asked else [])
    assert stack.record(model_id)["success"] is True


@texts
def test_a_stream_in_many_small_pieces(stack: Stack, name: str) -> None:
    """A byte at a time, with comments between events, which clients skip."""
    call, model_id = TEXTS[name], f"small-{name}"
    stack.behave(model_id, stream={"pieces": "bytes", "comments": True, "line_end": "crlf"})
    with call.client(stack) as client, call.make(client, model_id, stream=True) as events:
        assert "".join(map(text_in, events)) == TEXT
    assert stack.record(model_id)["success"] is True


@texts
def test_a_client_that_leaves(stack: Stack, name: str) -> None:
    """After the first text, while the model server goes on: recorded as that, with what had come by then."""
    call, model_id = TEXTS[name], f"left-{name}"
    stack.behave(model_id, stream={"stall_after_tokens": 1})
    with call.client(stack) as client:
        events = call.make(client, model_id, stream=True)
        assert "".join(map(text_in, up_to_text(events))) == "one"
        events.close()
        row = stack.record(model_id)
    assert (row["success"], row["error_type"]) == (False, "client_disconnected")
    assert row["output_size"] > 0


@texts
async def test_an_asynchronous_client_that_leaves(stack: Stack, name: str) -> None:
    """Likewise, by leaving the block of its stream."""
    call, model_id = TEXTS[name], f"async-left-{name}"
    stack.behave(model_id, stream={"stall_after_tokens": 1})
    async with call.async_client(stack) as client:
        async with await call.make(client, model_id, stream=True) as events:
            async for event in events:
                if text_in(event):
                    break
        assert stack.record(model_id)["error_type"] == "client_disconnected"


def test_openais_helpers(stack: Stack) -> None:
    """What they put together of a stream's events is the whole answer."""
    with stack.openai() as client:
        said: Any = {"model": "helped", "messages": SAYS}
        with client.chat.completions.stream(**said, stream_options={"include_usage": True}) as chat:
            assert "".join(event.delta for event in chat if event.type == "content.delta") == TEXT
            completion = chat.get_final_completion()
        assert completion.choices[0].message.content == TEXT
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 4
        with client.responses.stream(model="helped", input=TEXT) as response:
            assert [event.type for event in response][-1] == "response.completed"
            assert response.get_final_response().output_text == TEXT
        asked: Any = {"model": "helped", "messages": ASKS, "tools": TOOLS}
        with client.chat.completions.stream(**asked) as tool:
            called = tool.get_final_completion().choices[0].message.tool_calls
        assert called is not None
        assert [each.function.name for each in called] == ["weather"]
        assert json.loads(called[0].function.arguments or "") == {"text": ASKS[0]["content"]}
    assert [row["success"] for row in stack.records("helped", 3)] == [True] * 3


def test_anthropics_helpers(stack: Stack) -> None:
    """Likewise."""
    with stack.anthropic() as client:
        said: Any = {"model": "claude-helped", "max_tokens": 99, "messages": SAYS}
        with client.messages.stream(**said) as message:
            assert "".join(message.text_stream) == TEXT
            whole = message.get_final_message()
        assert (whole.stop_reason, whole.usage.input_tokens, whole.usage.output_tokens) == ("end_turn", 4, 4)
        asked: Any = {**said, "messages": ASKS, "tools": CLAUDES_TOOLS}
        with client.messages.stream(**asked) as tool:
            (block,) = tool.get_final_message().content
        assert block.type == "tool_use"
        assert block.input == {"text": ASKS[0]["content"]}
    assert [row["success"] for row in stack.records("claude-helped", 2)] == [True] * 2


async def test_asynchronous_helpers(stack: Stack) -> None:
    """Likewise."""
    async with stack.async_openai() as client, stack.async_anthropic() as claudes:
        said: Any = {"model": "async-helped", "messages": SAYS}
        async with client.chat.completions.stream(**said) as chat:
            assert (await chat.get_final_completion()).choices[0].message.content == TEXT
        async with claudes.messages.stream(**said, max_tokens=99) as message:
            assert await message.get_final_text() == TEXT
    assert [row["success"] for row in stack.records("async-helped", 2)] == [True] * 2


def test_choices_take_turns(stack: Stack) -> None:
    """Two answers in one stream, to which belong two ends."""
    with CHAT.client(stack) as client, CHAT.make(client, "two", stream=True, n=2) as events:
        chunks = [choice for event in events for choice in event.choices]
    assert [choice.index for choice in chunks if choice.finish_reason] == [0, 1]
    for index in (0, 1):
        assert "".join(choice.delta.content or "" for choice in chunks if choice.index == index) == TEXT
    assert stack.record("two")["success"] is True


def test_an_answer_that_is_cut_short_by_its_limit(stack: Stack) -> None:
    """Ends as its dialect says it, and is a whole one."""
    with stack.openai() as client, stack.anthropic() as claudes:
        events = list(CHAT.make(client, "limited", stream=True, max_tokens=2))
        assert events[-1].choices[0].finish_reason == "length"
        assert (
            list(RESPONSE.make(client, "limited", stream=True, max_output_tokens=2))[-1].type == "response.incomplete"
        )
        limited: Any = {**MESSAGE.arguments, "max_tokens": 2, "model": "limited"}
        assert [
            e.delta.stop_reason for e in claudes.messages.create(**limited, stream=True) if e.type == "message_delta"
        ] == ["max_tokens"]
    assert [row["success"] for row in stack.records("limited", 3)] == [True] * 3
