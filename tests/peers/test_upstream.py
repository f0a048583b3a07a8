"""LiteLLM as an upstream: the official clients get what it says, and each call is one record."""

import json
import re
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.calls import SAYS, shown, text_in
from tests.peers.conftest import Peers
from tests.peers.litellm import KEY, TEXT

pytestmark = pytest.mark.peers

CHAT: Any = {"messages": SAYS}
MESSAGE: Any = {"messages": SAYS, "max_tokens": 99}


def alike(answer: Any) -> str:
    """Without what it makes anew for each answer."""
    return re.sub(r'"(id|created)":("[^"]*"|\d+)', "", shown(answer))


def test_a_chat(peers: Peers) -> None:
    """As LiteLLM answers it without a gateway."""
    with peers.stack.openai(api_key=KEY) as client, peers.openai() as direct:
        raw = client.chat.completions.with_raw_response.create(model="peer/chat/whole", **CHAT)
        answer = raw.parse()
        assert alike(answer) == alike(direct.chat.completions.create(model="peer/chat/whole", **CHAT))
    assert answer.choices[0].message.content == TEXT
    row = peers.stack.record("peer/chat/whole")
    assert (row["success"], row["output_size"]) == (True, len(raw.http_response.content))
    assert answer.usage is not None
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)


@pytest.mark.parametrize("asked", [True, False])
def test_a_streamed_chat(peers: Peers, asked: bool) -> None:
    """Likewise, with its usage for who asks for it."""
    model_id, more = f"peer/chat/stream-{asked}", dict[str, Any]()
    if asked:
        more["stream_options"] = {"include_usage": True}
    with peers.stack.openai(api_key=KEY) as client, peers.openai() as direct:
        got = list(client.chat.completions.create(model=model_id, **CHAT, **more, stream=True))
        expected = list(direct.chat.completions.create(model=model_id, **CHAT, **more, stream=True))
    reports = [event.usage for event in got if event.usage]
    if not asked:  # it says its usage beside an empty delta, which isn't left out
        got = [event for event in got if not event.usage]
    assert list(map(alike, got)) == list(map(alike, expected))
    assert "".join(map(text_in, got)) == TEXT
    row = peers.stack.record(model_id)
    assert row["success"] is True
    assert [(row["input_tokens"], row["output_tokens"])] == [
        (usage.prompt_tokens, usage.completion_tokens) for usage in reports
    ]
    assert row["time_to_first_token_ms"] is not None


def test_other_calls(peers: Peers) -> None:
    """Each in its own form."""
    with peers.stack.openai(api_key=KEY) as client:
        vectors = client.embeddings.create(model="peer/embeddings/1", input=["a"], encoding_format="float")
        assert vectors.data[0].embedding == [0.5, 0.25]
        assert client.completions.create(model="peer/chat/completion", prompt="hi").choices[0].text == TEXT
        assert client.responses.create(model="peer/chat/response", input="hi").output_text == TEXT
    for model_id in ("peer/embeddings/1", "peer/chat/completion", "peer/chat/response"):
        assert peers.stack.record(model_id)["success"] is True


def test_a_message(peers: Peers) -> None:
    """In Anthropic's dialect, which it speaks, too."""
    with peers.stack.anthropic(api_key=KEY) as client:
        message = client.messages.create(model="peer/claude/whole", **MESSAGE)
    assert [block.text for block in message.content if block.type == "text"] == [TEXT]
    row = peers.stack.record("peer/claude/whole")
    assert row["success"] is True
    assert (row["input_tokens"], row["output_tokens"]) == (message.usage.input_tokens, message.usage.output_tokens)


def test_a_whole_answer_to_who_wants_a_stream(peers: Peers) -> None:
    """Which it gives here: whether an answer is a stream is for its Content-Type to say."""
    with peers.stack.anthropic(api_key=KEY) as client:
        raw = client.messages.with_raw_response.create(model="peer/claude/stream", **MESSAGE, stream=True)
    assert json.loads(raw.http_response.read())["content"][0]["text"] == TEXT
    row = peers.stack.record("peer/claude/stream")
    assert (row["success"], row["output_size"]) == (True, len(raw.http_response.content))


@pytest.mark.parametrize(
    ("model_id", "error", "status"),
    [
        ("peer/limited/1", openai.RateLimitError, 429),
        ("peer/broken/1", openai.InternalServerError, 500),
        ("peer/nothing/1", openai.BadRequestError, 400),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error(peers: Peers, model_id: str, error: type[openai.APIStatusError], status: int, stream: bool) -> None:
    """Of its own, in its words, and recorded as the upstream's."""
    model_id += "-stream" if stream else ""
    with peers.stack.openai(api_key=KEY) as client, pytest.raises(error) as caught:
        client.chat.completions.create(model=model_id, **CHAT, stream=stream)
    assert caught.value.status_code == status
    row = peers.stack.record(model_id)
    assert row["error_type"] == "upstream_status"
    assert row["error_log"].startswith(f"upstream answered {status}")


def test_an_error_that_is_said_as_a_stream(peers: Peers) -> None:
    """With a status of its own: the status counts, and the body goes through."""
    with peers.stack.openai(api_key=KEY) as client, pytest.raises(openai.InternalServerError) as caught:
        client.responses.create(model="peer/chat/response-stream", input="hi", stream=True)
    assert caught.value.response.headers["content-type"].startswith("text/event-stream")
    assert peers.stack.record("peer/chat/response-stream")["error_type"] == "upstream_status"


def test_the_callers_key_is_its_to_judge(peers: Peers) -> None:
    """A wrong one is refused by the upstream, in either dialect; whatever it says of that, no key is recorded."""
    wrong = "sk-which-it-does-not-know"
    with peers.stack.openai(api_key=wrong) as client, pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="peer/chat/wrong", **CHAT)
    with peers.stack.anthropic(api_key=wrong) as claudes, pytest.raises(anthropic.APIStatusError) as claudes_refused:
        claudes.messages.create(model="peer/claude/wrong", **MESSAGE)
    for model_id, status in (
        ("peer/chat/wrong", refused.value.status_code),
        ("peer/claude/wrong", claudes_refused.value.status_code),
    ):
        row = peers.stack.record(model_id)
        assert row["error_log"].startswith(f"upstream answered {status}")
        assert wrong not in json.dumps(row)
