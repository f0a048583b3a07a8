"""Whole answers: an official client gets through the gateway what it gets without, and each call is one record."""

import json

from anthropic import Anthropic
from openai import OpenAI

from tests.clients.calls import CHAT, CLAUDES_TOOL, MESSAGE, TOOL, WHOLE, each_dialect, shown, whole_calls
from tests.clients.stack import KEY, Stack


@whole_calls
def test_an_answer_is_the_model_servers(stack: Stack, name: str) -> None:
    """Read by the client into the same object; a success of as many bytes as went by."""
    call, model_id = WHOLE[name], f"whole-{name}"
    with call.client(stack) as client, call.direct(stack) as direct:
        raw = call.make_raw(client, model_id)
        assert shown(raw.parse()) == shown(call.make(direct, model_id))
    row = stack.record(model_id)
    assert (row["success"], row["error_type"]) == (True, None)
    assert (row["input_size"], row["output_size"]) == (len(raw.http_request.content), len(raw.http_response.content))
    assert row["request_id"] == raw.headers["x-request-id"]


@whole_calls
async def test_an_asynchronous_client(stack: Stack, name: str) -> None:
    """Gets the same, and its calls are recorded alike."""
    call, model_id = WHOLE[name], f"async-{name}"
    async with call.async_client(stack) as client:
        answer = await call.make(client, model_id)
    with call.direct(stack) as direct:
        assert shown(answer) == shown(call.make(direct, model_id))
    assert stack.record(model_id)["success"] is True


@whole_calls
def test_bodies_go_through_as_they_are(stack: Stack, name: str) -> None:
    """Fields that nobody knows, their order and the forms of numbers too; so do the answer's bytes, the caller's key
    and its own headers."""
    call, model_id = WHOLE[name], f"bytes-{name}"
    odd = {
        "zz": {"b": 1.0, "a": [1e22, -0.0, 123456789012345678901234567890]},
        "aa": "é\u2028 \\u0041",
        "nothing": None,
    }
    with call.client(stack) as client:
        raw = call.make_raw(client, model_id, extra_body=odd, extra_headers={"x-own": "kept"}, extra_query={"q": "1 2"})
    (request,) = stack.tap.requests(model_id)
    assert request.body == raw.http_request.content
    assert json.loads(request.body)["zz"] == odd["zz"]
    assert request.path == raw.http_request.url.raw_path.decode()
    assert request.path.startswith(f"{call.path}?q=1")
    assert stack.tap.said(raw.http_response.content)
    own = {"x-own", "user-agent", "x-stainless-lang", "x-stainless-retry-count", "content-type", "authorization"}
    for header in own:
        assert request.headers[header] == raw.http_request.headers[header]
    assert KEY in request.headers["authorization"]


@each_dialect
def test_a_request_id_of_the_callers(stack: Stack, name: str) -> None:
    """Is the record's, the answer's and the model server's."""
    call, model_id = WHOLE[name], f"id-{name}"
    with call.client(stack) as client:
        raw = call.make_raw(client, model_id, extra_headers={"x-request-id": f"mine-{name}"})
    assert raw.headers["x-request-id"] == stack.record(model_id)["request_id"] == f"mine-{name}"
    (request,) = stack.tap.requests(model_id)
    assert request.headers["x-request-id"] == f"mine-{name}"


def test_a_tool_is_called(stack: Stack) -> None:
    """With its name and arguments."""
    with TOOL.client(stack) as client:
        (called,) = TOOL.make(client, "tool").choices[0].message.tool_calls
    assert called.function.name == "weather"
    assert json.loads(called.function.arguments) == {"text": "use weather for one two three"}
    with CLAUDES_TOOL.client(stack) as client:
        message = CLAUDES_TOOL.make(client, "claudes-tool")
    assert (message.stop_reason, message.content[0].name) == ("tool_use", "weather")
    assert message.content[0].input == {"text": "use weather for one two three"}


def test_the_models_are_listed(stack: Stack) -> None:
    """Those of the models file, each dialect's to its own client, then those that the upstream of the settings lists,
    and each by its id. No call is recorded."""
    recorded = stack.total()
    stack.behave("listed")
    with stack.openai() as client:
        assert [model.id for model in client.models.list()][:2] == ["org/near", "org/away"]
        assert client.models.retrieve("listed").id == "listed"
        assert client.models.retrieve("org/away").id == "org/away"
    with stack.anthropic() as claudes:
        assert [model.id for model in claudes.models.list(limit=3)][:1] == ["claude-away"]
        assert claudes.models.retrieve("claude-away").id == "claude-away"
    assert stack.total() == recorded


def test_many_calls_on_one_connection(stack: Stack) -> None:
    """Of both dialects, one after the other: a record each, in their order."""
    with stack.openai() as client, stack.anthropic() as claudes:
        _alternate(client, claudes)
    rows = stack.records("many", 20)
    assert [row["success"] for row in rows] == [True] * 20
    assert len({row["request_id"] for row in rows}) == 20


def _alternate(client: OpenAI, claudes: Anthropic) -> None:
    for _ in range(10):
        assert CHAT.make(client, "many").choices[0].message.content == "one two three four"
        assert MESSAGE.make(claudes, "many").content[0].text == "one two three four"
