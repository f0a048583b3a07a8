"""What a stream says of its usage and of its output, and what of it a caller doesn't get."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocols.base import Usage
from invoker.protocols.events import MAX_EVENT_BYTES, EventReader
from invoker.protocols.usage import Meaning, anthropic_usage, openai_usage


def event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def typed(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)


def chat(delta: Any = None, reason: str | None = None, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}], **more})


def counts(prompt: int, completion: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


DONE = event("[DONE]")
ROLE = chat({"role": "assistant", "content": ""})
TEXT = chat({"content": "a"})
STOP = chat(reason="stop")
ALONE = event({"choices": [], "usage": counts(9, 3)})
AZURES_FIRST = event({"choices": [], "id": "", "usage": None, "prompt_filter_results": [{}]})
START = {"input_tokens": 15, "cache_read_input_tokens": 5, "output_tokens": 1}
BEGUN = typed("message_start", message={"role": "assistant", "content": [], "usage": START})
BLOCK = typed("content_block_start", index=0, content_block={"type": "text", "text": ""})
WORD = typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
MESSAGE_STOP = typed("message_stop")


def message_delta(**usage: Any) -> bytes:
    return typed("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)


def response(kind: str, usage: Any) -> bytes:
    return typed(kind, response={"error": None, "output": [{"usage": {"input_tokens": 1}}], "usage": usage})


RESPONSE = {"input_tokens": 9, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 2}}
REPORTS: list[tuple[str, Meaning, bytes, Usage | None]] = [
    ("alone", openai_usage, TEXT + STOP + ALONE + DONE, Usage(9, None, 3)),
    ("alone, and no end", openai_usage, TEXT + STOP + ALONE, Usage(9, None, 3)),
    ("null in the others", openai_usage, chat({"content": "a"}, usage=None) + ALONE + DONE, Usage(9, None, 3)),
    ("null behind it", openai_usage, ALONE + chat(reason="stop", usage=None) + DONE, Usage(9, None, 3)),
    ("beside an empty delta", openai_usage, TEXT + chat(usage=counts(9, 3)) + DONE, Usage(9, None, 3)),
    ("beside the reason", openai_usage, TEXT + chat(reason="stop", usage=counts(9, 3)), Usage(9, None, 3)),
    (
        "running totals",
        openai_usage,
        b"".join(chat({"content": "a"}, usage=counts(9, number)) for number in range(4)) + DONE,
        Usage(9, None, 3),
    ),
    ("several choices", openai_usage, TEXT + STOP + STOP + ALONE + DONE, Usage(9, None, 3)),
    ("alone, without its blank line", openai_usage, TEXT + STOP + ALONE[:-2], Usage(9, None, 3)),
    ("without its line end", openai_usage, TEXT + STOP + ALONE[:-1], Usage(9, None, 3)),
    ("without spaces", openai_usage, (TEXT + ALONE + DONE).replace(b"data: ", b"data:"), Usage(9, None, 3)),
    ("on several lines", openai_usage, TEXT + ALONE.replace(b", ", b",\ndata: ") + DONE, Usage(9, None, 3)),
    ("behind a comment", openai_usage, TEXT + b": PROCESSING\n" + ALONE + DONE, Usage(9, None, 3)),
    ("cached", openai_usage, chat(usage={**counts(9, 3), "prompt_tokens_details": {"cached_tokens": 4}}) + DONE,
     Usage(9, 4, 3)),
    ("reasoning beside", openai_usage,
     event({"choices": [], "usage": {**counts(12, 1), "completion_tokens_details": {"reasoning_tokens": 386},
                                     "total_tokens": 399}}) + DONE, Usage(12, None, 387, 386)),
    ("Azure's first", openai_usage, AZURES_FIRST + TEXT + STOP + ALONE + DONE, Usage(9, None, 3)),
    ("none", openai_usage, TEXT + STOP + DONE, None),
    ("none that counts", openai_usage, TEXT + event({"choices": [], "usage": "9"}) + DONE, None),
    ("in the text", openai_usage, chat({"content": '"usage": {"prompt_tokens": 1}'}) + DONE, None),
    ("before a cut", openai_usage, chat({"content": "a"}, usage=counts(9, 1)) + TEXT[:-9], Usage(9, None, 1)),
    ("beside what is odd", openai_usage, event({"choices": {}, "delta": 7, "usage": counts(9, 3)}), Usage(9, None, 3)),
    ("completed", openai_usage, response("response.completed", RESPONSE), Usage(9, None, 3, 2)),
    ("incomplete", openai_usage, response("response.incomplete", RESPONSE), Usage(9, None, 3, 2)),
    ("failed", openai_usage, response("response.failed", RESPONSE), Usage(9, None, 3, 2)),
    ("failed without", openai_usage, response("response.failed", None), None),
    ("not ended", openai_usage, response("response.in_progress", RESPONSE), None),
    ("sound", openai_usage, typed("transcript.text.done", text="a", usage=RESPONSE), Usage(9, None, 3, 2)),
    ("a message", anthropic_usage, BEGUN + message_delta(output_tokens=7) + MESSAGE_STOP, Usage(20, 5, 7)),
    ("a message's last", anthropic_usage, BEGUN + message_delta(output_tokens=2) + message_delta(output_tokens=7),
     Usage(20, 5, 7)),
    ("a message of 0", anthropic_usage, BEGUN + message_delta(input_tokens=0, output_tokens=7), Usage(20, 5, 7)),
    ("a message's end", anthropic_usage, BEGUN + message_delta(input_tokens=40, output_tokens=7), Usage(45, 5, 7)),
    ("a message's only", anthropic_usage,
     typed("message_start", message={"usage": {"input_tokens": 0, "output_tokens": 0}})
     + message_delta(input_tokens=4522, cache_creation_input_tokens=4511, output_tokens=5) + MESSAGE_STOP,
     Usage(9033, None, 5)),
    ("a message that is cut", anthropic_usage, BEGUN + WORD, Usage(20, 5, 1)),
    ("a message that fails", anthropic_usage, BEGUN + typed("error", error={"message": "no"}), Usage(20, 5, 1)),
]  # fmt: skip


def run(reader: EventReader, stream: bytes, cuts: list[int]) -> bytes:
    """What its caller gets, of a stream in these pieces, one each µs."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    sent, now_us = b"", 0
    for now_us, (begin, end) in enumerate(itertools.pairwise(places), 1):
        sent += reader.feed(stream[begin:end], now_us)
        if reader.ended:
            return sent + reader.held + stream[end:]
    reader.end(now_us + 1)
    return sent + reader.held


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("cut", [1, 5, 100_000])
@pytest.mark.parametrize(("name", "meaning", "stream", "usage"), REPORTS, ids=[name for name, *_ in REPORTS])
def test_usage(name: str, meaning: Meaning, stream: bytes, usage: Usage | None, cut: int, line_end: bytes) -> None:
    """From whichever event it comes in: the last report counts, and none is added to another."""
    assert name
    stream = stream.replace(b"\n", line_end)
    reader = EventReader(meaning)
    assert run(reader, stream, [*range(0, len(stream), cut)]) == stream
    assert reader.usage == usage


WORDS: list[tuple[bytes, bool]] = [
    (TEXT, True),
    (chat({"reasoning_content": "a"}), True),
    (chat({"reasoning": "a", "content": None}), True),
    (chat({"refusal": "a"}), True),
    (chat({"content": [{"type": "thinking", "thinking": "a"}]}), True),
    (chat({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}), True),
    (chat({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}), True),
    (chat({"tool_calls": [{"index": 0, "custom": {"input": "a"}}]}), True),
    (chat({"function_call": {"arguments": "{"}}), True),
    (chat({"audio": {"id": "a", "data": "AAAA"}}), True),
    (chat({"audio": {"transcript": "a"}}), True),
    (event({"choices": [{"index": 0, "text": "a"}]}), True),
    (event({"choices": [{"delta": {"content": ""}}, {"delta": {"content": "a"}}]}), True),
    (ROLE, False),
    (STOP, False),
    (ALONE, False),
    (AZURES_FIRST, False),
    (b": PROCESSING\n\n", False),
    (b"\n", False),
    (b"id: 1\n\n", False),
    (event({"choices": [{"index": 0}]}), False),
    (chat({"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": ""}}]}), False),
    (chat({"tool_calls": [], "function_call": None, "audio": {"id": "a"}}), False),
    (chat({"tool_calls": ["a", None, {"function": 1}], "audio": "a"}), False),
    (event({"choices": [{"index": 0, "text": ""}]}), False),
    (typed("response.output_text.delta", delta="a"), True),
    (typed("response.refusal.delta", delta="a"), True),
    (typed("response.function_call_arguments.delta", delta="{"), True),
    (typed("response.reasoning_summary_text.delta", delta="a"), True),
    (typed("response.audio.delta", delta="AAAA"), True),
    (typed("speech.audio.delta", audio="AAAA"), True),
    (typed("transcript.text.delta", delta="a"), True),
    (event({"delta": "a"}, "response.output_text.delta"), True),
    (typed("response.output_text.delta", delta=""), False),
    (typed("response.created", response={"output": []}), False),
    (typed("response.output_item.added", item={"type": "message", "role": "assistant"}), False),
    (typed("response.content_part.added", part={"text": ""}), False),
    (typed("response.output_text.done", text="a"), False),
    (WORD, True),
    (typed("content_block_delta", delta={"type": "thinking_delta", "thinking": "a"}), True),
    (typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"}), True),
    (typed("content_block_start", content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}), True),
    (typed("content_block_start", content_block={"type": "redacted_thinking", "data": "a"}), True),
    (typed("content_block_delta", delta={"type": "text_delta", "text": ""}), False),
    (typed("content_block_delta", delta={"type": "signature_delta", "signature": "a"}), False),
    (BLOCK, False),
    (BEGUN, False),
    (typed("ping"), False),
    (typed("content_block_stop", index=0), False),
    (message_delta(output_tokens=1), False),
]


@pytest.mark.parametrize(("said", "is_output"), WORDS, ids=lambda value: str(value)[:60])
def test_output(said: bytes, is_output: bool) -> None:
    """What brings any of the answer, and nothing that goes before it or ends it; known when it has come whole."""
    reader = EventReader(openai_usage)
    reader.feed(said[:-1], 3)
    reader.feed(said[-1:], 5)
    assert (reader.first_output_us, reader.last_output_us) == ((5, 5) if is_output else (None, None))
    reader.feed(TEXT, 7)
    reader.feed(ROLE, 8)
    reader.feed(TEXT, 9)
    reader.feed(STOP, 11)
    assert (reader.first_output_us, reader.last_output_us) == (5 if is_output else 7, 9)


HIDDEN: list[tuple[bytes, bytes]] = [
    (TEXT + STOP + ALONE + DONE, TEXT + STOP + DONE),
    (TEXT + STOP + ALONE, TEXT + STOP),
    (TEXT + STOP + ALONE[:-2], TEXT + STOP),
    (b": x\n" + ALONE + b": y\n\n" + DONE, b": y\n\n" + DONE),
    (AZURES_FIRST + TEXT + ALONE + STOP + ALONE + DONE, AZURES_FIRST + TEXT + STOP + DONE),
    (TEXT + chat(reason="stop", usage=counts(9, 3)) + DONE, TEXT + chat(reason="stop", usage=counts(9, 3)) + DONE),
    (TEXT + event({"usage": counts(9, 3)}) + DONE, TEXT + DONE),
    (TEXT + event({"choices": None, "usage": counts(9, 3)}) + DONE, TEXT + DONE),
    (TEXT + event({"choices": {}, "usage": counts(9, 3)}) + DONE,) * 2,
    (TEXT + event({"type": "stats", "usage": counts(9, 3)}) + DONE,) * 2,
    (chat({"content": "a"}, usage=None) + DONE, chat({"content": "a"}, usage=None) + DONE),
    (TEXT + event({"choices": [], "usage": counts(9, 3), "error": {"message": "no"}}),) * 2,
    (TEXT + STOP + DONE + ALONE, TEXT + STOP + DONE + ALONE),
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("cut", [1, 3, 100_000])
@pytest.mark.parametrize(("stream", "seen"), HIDDEN, ids=lambda value: str(value)[-60:])
def test_usage_that_its_caller_has_not_asked_for(stream: bytes, seen: bytes, cut: int, line_end: bytes) -> None:
    """An event that has nothing else is left out, and counts; whatever has more in it stays as it is."""
    stream, seen = (text.replace(b"\n", line_end) for text in (stream, seen))
    reader, asked = EventReader(openai_usage, hides_usage=True), EventReader(openai_usage)
    cuts = [*range(0, len(stream), cut)]
    assert run(reader, stream, cuts) == seen
    assert run(asked, stream, cuts) == stream
    assert reader.usage == asked.usage
    assert reader.size - asked.size == len(seen) - len(stream)


IMAGE = "A" * (MAX_EVENT_BYTES + 1000)
LARGE: list[tuple[bytes, bool, Usage | None]] = [
    (response("response.completed", RESPONSE).replace(b'"output": ', b'"output": "%b", "x": ' % IMAGE.encode()), True,
     Usage(9, None, 3, 2)),
    (event({"type": "response.incomplete", "response": {"output": IMAGE, "usage": RESPONSE, "user": "\"usage\": {"}}),
     True, Usage(9, None, 3, 2)),
    (response("response.failed", RESPONSE).replace(b'"output": ', b'"output": "%b", "x": ' % IMAGE.encode()), False,
     Usage(9, None, 3, 2)),
    (typed("image_generation.completed", b64_json=IMAGE, usage=RESPONSE), True, Usage(9, None, 3, 2)),
    (typed("image_generation.completed", b64_json=IMAGE), True, None),
    (typed("response.completed", response={"usage": None, "output": IMAGE}), True, None),
    (typed("response.completed", response={"usage": RESPONSE, "output": IMAGE}), True, None),  # too far from its end
    (typed("response.output_item.done", item={"result": IMAGE, "usage": RESPONSE}), False, None),
    (typed("image_edit.completed", b64_json=3 * IMAGE, usage=RESPONSE) + typed("ping", usage="no"), True,
     Usage(9, None, 3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("cut", [65_536, 1_048_700, 1_049_800])
@pytest.mark.parametrize(("stream", "complete", "usage"), LARGE, ids=lambda value: str(value)[:40])
def test_an_event_beyond_the_bound(stream: bytes, complete: bool, usage: Usage | None, cut: int) -> None:
    """As one with an image is: its name says whether it is the last, and what it ends with is looked at."""
    reader = EventReader(openai_usage)
    assert run(reader, stream, [*range(0, len(stream), cut)]) == stream
    assert (reader.complete, reader.usage) == (complete, usage)


PARTS = st.lists(
    st.sampled_from(
        [*(said for said, _ in WORDS), BEGUN, message_delta(output_tokens=7), chat(usage=counts(9, 3)), ALONE, b"\n"]
    ),
    max_size=6,
)
ENDS = st.sampled_from([DONE, DONE[:-1], b"", MESSAGE_STOP, response("response.completed", RESPONSE), TEXT[:-1]])


@given(
    PARTS,
    ENDS,
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 3000), max_size=12),
    st.booleans(),
    st.sampled_from([openai_usage, anthropic_usage]),
)
def test_in_whatever_pieces_it_comes(
    parts: list[bytes], last: bytes, line_end: bytes, cuts: list[int], hides: bool, meaning: Callable[..., Any]
) -> None:
    """The bytes, the usage, the output and the end are the same as of one piece."""
    stream = (b"".join(parts) + last).replace(b"\n", line_end)
    whole, cut = EventReader(meaning, hides_usage=hides), EventReader(meaning, hides_usage=hides)
    seen, seen_cut = run(whole, stream, []), run(cut, stream, cuts)
    assert seen_cut == seen
    assert cut.usage == whole.usage
    assert (cut.complete, cut.ended) == (whole.complete, whole.ended)
    assert (cut.first_output_us is None) == (whole.first_output_us is None)
    if not hides:
        assert seen == stream
