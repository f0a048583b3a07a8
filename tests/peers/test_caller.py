"""LiteLLM as a caller of the gateway, as of any server of these dialects."""

from typing import Any

import openai
import pytest

from tests.clients.calls import SAYS, text_in
from tests.peers.conftest import Peers

pytestmark = pytest.mark.peers

SAID: Any = {"messages": SAYS}


@pytest.mark.parametrize("by", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_it_calls_is_answered_and_recorded(peers: Peers, by: str, stream: bool) -> None:
    """In either dialect: it asks for what its own caller wants, and translates that."""
    model_id = f"from-{by}-{stream}"
    with peers.openai() as client:
        answer: Any = client.chat.completions.create(model=f"by-{by}/{model_id}", **SAID, stream=stream)
        text = "".join(map(text_in, answer)) if stream else answer.choices[0].message.content
    assert text == "one two three four"
    assert peers.stack.record(model_id)["success"] is True


@pytest.mark.parametrize("by", ["openai", "anthropic"])
def test_what_fails_there_fails_here(peers: Peers, by: str) -> None:
    """Each of its attempts is a record."""
    model_id = f"failed-{by}"
    peers.stack.fail(model_id, 400)
    with peers.openai() as client, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=f"by-{by}/{model_id}", **SAID)
    assert peers.stack.record(model_id)["error_type"] == "upstream_status"
