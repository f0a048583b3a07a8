"""What the mock server says in the protocols of text: the caller's own words, token by token, counted."""

import re
from collections.abc import Iterable
from typing import Any

_TOKEN = re.compile(r"\s*\S+|\s+$")
SAYS_NOTHING = "Hello! You said nothing."


def tokens(text: str) -> list[str]:
    """A token is a word and the space before it."""
    return _TOKEN.findall(text)


def text_of(content: Any) -> str:
    """The text of a message's content, whichever of its forms it has: a text, or parts with texts in them."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(filter(None, map(text_of, content)))
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content"))
    return ""


def last_text(messages: Any) -> str:
    """Of a conversation, what is answered."""
    return text_of(messages[-1]) if isinstance(messages, list) and messages else text_of(messages)


def count_tokens(*contents: Any) -> int:
    """At least one, as a prompt always has."""
    return max(1, sum(len(tokens(text_of(content))) for content in contents))


def reply(said: str, limit: int | None) -> tuple[list[str], bool]:
    """The tokens of an answer, and whether the limit has cut it. A limit alone doesn't make it longer than what was
    said, which is said again."""
    every = tokens(said.strip() or SAYS_NOTHING)
    cut = limit is not None and limit < len(every)
    return every[:limit] if cut else every, cut


def tool_called(tools: Iterable[Any], said: str) -> str | None:
    """The name of the tool that the last message names, if it is one of those."""
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name and name in said:
            return name
    return None
