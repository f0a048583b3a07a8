"""The calls that the official clients make here, by what they are called in their documentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import pytest

from tests.clients.stack import Stack

SAYS = [{"role": "user", "content": "one two three four"}]
ASKS = [{"role": "user", "content": "use weather for one two three"}]
PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": PARAMETERS}}]
CLAUDES_TOOLS = [{"name": "weather", "description": "tells it", "input_schema": PARAMETERS}]


ASKS_USAGE = b'"stream_options":{"include_usage":true},'
"""What the gateway puts into a body that asks for a stream and not for its usage."""


@dataclass(frozen=True)
class Call:
    """A method of a client, and what it is given beside the model."""

    dialect: str
    method: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def client(self, stack: Stack, **settings: Any) -> Any:
        return (stack.openai if self.dialect == "openai" else stack.anthropic)(**settings)

    def async_client(self, stack: Stack, **settings: Any) -> Any:
        return (stack.async_openai if self.dialect == "openai" else stack.async_anthropic)(**settings)

    def direct(self, stack: Stack) -> Any:
        """A client of the model server itself."""
        return self.client(stack, base_url=stack.mock + ("/v1" if self.dialect == "openai" else ""))

    def make(self, client: Any, model_id: str, **more: Any) -> Any:
        """An answer, or of an asynchronous client what is to be awaited."""
        return attrgetter(self.method)(client)(model=model_id, **self.arguments, **more)

    def make_raw(self, client: Any, model_id: str, **more: Any) -> Any:
        """The same with its HTTP around it."""
        resource, _, method = self.method.rpartition(".")
        raw = attrgetter(resource)(client).with_raw_response
        return getattr(raw, method)(model=model_id, **self.arguments, **more)


CHAT = Call("openai", "chat.completions.create", "/v1/chat/completions", {"messages": SAYS})
COMPLETION = Call("openai", "completions.create", "/v1/completions", {"prompt": "one two three four"})
RESPONSE = Call("openai", "responses.create", "/v1/responses", {"input": "one two three four"})
MESSAGE = Call("anthropic", "messages.create", "/v1/messages", {"max_tokens": 99, "messages": SAYS})
TOOL = Call("openai", "chat.completions.create", "/v1/chat/completions", {"messages": ASKS, "tools": TOOLS})
CLAUDES_TOOL = Call(
    "anthropic", "messages.create", "/v1/messages", {"max_tokens": 99, "messages": ASKS, "tools": CLAUDES_TOOLS}
)
STREAMED = {
    "chat": CHAT,
    "tool": TOOL,
    "completion": COMPLETION,
    "response": RESPONSE,
    "message": MESSAGE,
    "claudes-tool": CLAUDES_TOOL,
}
WHOLE = STREAMED | {
    "embeddings": Call("openai", "embeddings.create", "/v1/embeddings", {"input": ["one", "two"]}),
    "moderation": Call("openai", "moderations.create", "/v1/moderations", {"input": "one"}),
    "image": Call("openai", "images.generate", "/v1/images/generations", {"prompt": "one"}),
    "count": Call("anthropic", "messages.count_tokens", "/v1/messages/count_tokens", {"messages": SAYS}),
    "beta": Call("anthropic", "beta.messages.create", "/v1/messages", MESSAGE.arguments),
}
TEXTS = {"chat": CHAT, "response": RESPONSE, "message": MESSAGE}

whole_calls = pytest.mark.parametrize("name", WHOLE)
streamed_calls = pytest.mark.parametrize("name", STREAMED)
texts = pytest.mark.parametrize("name", TEXTS)
each_dialect = pytest.mark.parametrize("name", ["chat", "message"])


def shown(answer: Any) -> str:
    """An answer without the numbers that its model server gives to each."""
    text: str = answer.model_dump_json()
    return re.sub(r"(chatcmpl-|cmpl-|resp_|msg_)\d+", r"\1N", text)


def text_in(event: Any) -> str:
    """Of an event of a stream, in any of the dialects."""
    if getattr(event, "choices", None):
        choice = event.choices[0]
        return (choice.delta.content if hasattr(choice, "delta") else choice.text) or ""
    delta = getattr(event, "delta", None)
    return delta if isinstance(delta, str) else getattr(delta, "text", None) or ""


def up_to_text(events: Any) -> Iterator[Any]:
    """The events of a stream up to the first one with text."""
    for event in events:
        yield event
        if text_in(event):
            return
