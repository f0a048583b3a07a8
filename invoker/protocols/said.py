"""What an event of a stream says, in any of the dialects: one look at its data, which is JSON, or is not looked at."""

from typing import Any

import msgspec

from invoker.protocols.usage import NOTHING

FAILURES = frozenset(("error", "response.failed"))
ENDS = frozenset(("message_stop", "response.completed", "response.incomplete"))
"""Of the whole stream; after one of these, which are of images and sound, there may be more."""
COMPLETE = frozenset(
    ("transcript.text.done", "speech.audio.done", "image_generation.completed", "image_edit.completed")
)


class _ChatDelta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct, gc=False):
    """Of chats; `text`: of completions."""

    finish_reason: Any = None
    delta: _ChatDelta | None = None
    text: Any = None


class _Delta(msgspec.Struct, gc=False):
    """Of Anthropic's."""

    text: Any = None
    partial_json: Any = None
    thinking: Any = None
    stop_reason: Any = None


class _Block(msgspec.Struct, gc=False):
    """The beginning of one, which may say all of it."""

    type: Any = None
    text: Any = None
    thinking: Any = None
    data: Any = None


class Said(msgspec.Struct, gc=False):
    """`usage`, and the `response` and `message` that it may stand in, are read when they are wanted."""

    type: Any = None
    error: Any = None
    choices: list[_Choice] | None = None
    delta: _Delta | str | None = None
    usage: msgspec.Raw = NOTHING
    response: msgspec.Raw = NOTHING
    message: msgspec.Raw = NOTHING
    content_block: _Block | None = None
    audio: Any = None


class _Little(msgspec.Struct):
    """What is still read of an event that has something else where a dialect has what is above."""

    type: Any = None
    error: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING
    response: msgspec.Raw = NOTHING
    message: msgspec.Raw = NOTHING


_said = msgspec.json.Decoder(Said)
_little = msgspec.json.Decoder(_Little)


def read_said(data: bytes) -> Said:
    """Nothing, if it is no JSON object."""
    try:
        return _said.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        little = _little.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said()
    error = None if bytes(little.error) in (b"", b"null") else little.error
    odd = [_Choice()]  # it says more than usage
    return Said(little.type, error, odd, usage=little.usage, response=little.response, message=little.message)


def says_why(said: Said) -> bool:
    """Whether it is told why the answer ends here."""
    for choice in said.choices or ():
        if choice.finish_reason:
            return True
    return isinstance(said.delta, _Delta) and bool(said.delta.stop_reason)


def has_output(said: Said, kind: str) -> bool:
    """Whether it brings any of the answer: text, reasoning, a refusal, what a tool is called with, sound. A role, a
    ping, an empty string and the end are none."""
    if said.choices is not None:
        for choice in said.choices:
            if choice.text or (choice.delta is not None and (choice.delta.content or _speaks(choice.delta))):
                return True
        return False
    delta, block = said.delta, said.content_block
    if delta is None:
        return (block is not None and _begins(block)) or (bool(said.audio) and kind.endswith(".delta"))
    if isinstance(delta, str):
        return bool(delta) and kind.endswith(".delta")
    return bool(delta.text or delta.partial_json or delta.thinking)


def _speaks(delta: _ChatDelta) -> bool:
    """Otherwise than by its content."""
    if delta.reasoning_content or delta.reasoning or delta.refusal:
        return True
    if isinstance(delta.audio, dict) and (delta.audio.get("data") or delta.audio.get("transcript")):
        return True
    if isinstance(delta.tool_calls, list):
        for call in delta.tool_calls:
            if isinstance(call, dict) and (_is_called(call.get("function")) or _is_called(call.get("custom"))):
                return True
    return _is_called(delta.function_call)


def _is_called(function: Any) -> bool:
    """With its name at first, and then with what it is called with."""
    return isinstance(function, dict) and bool(
        function.get("name") or function.get("arguments") or function.get("input")
    )


def _begins(block: _Block) -> bool:
    """With some of the answer already, as the name of a tool is."""
    is_tool = isinstance(block.type, str) and block.type.endswith("tool_use")
    return is_tool or bool(block.text or block.thinking or block.data)
