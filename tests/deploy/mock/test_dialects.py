"""The mock server's other protocols: what they say, whole and streamed, and how they misbehave when told to."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.deploy.mock.test_server import FAST, MODULE, call, url_of
from tests.deploy.processes import running

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 10}


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    """The URL of a mock server without latency."""
    with running(*MODULE, env=FAST) as process:
        yield url_of(process)


async def behave(url: str, model: str, **behaviour: Any) -> None:
    assert (await call("PUT", f"{url}/config/{model}", json=behaviour))[0] == 200


async def stream(url: str, path: str, body: dict[str, Any]) -> tuple[bytes, bool]:
    """The body of a stream as it came, and whether it came to its end."""
    got = b""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(url + path, json={**body, "stream": True}) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        try:
            async for chunk in answer.content.iter_any():
                got += chunk
        except aiohttp.ClientPayloadError:
            return got, False
    return got, True


def data_of(body: bytes) -> list[Any]:
    """What the events hold; a text where it is no JSON."""
    lines = [line.partition(b":")[2].strip() for line in body.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) if line.startswith(b"{") else line.decode() for line in lines]


async def test_a_chat_is_said_again_and_counted(mock: str) -> None:
    """As one answer, with the tokens of both sides."""
    status, answer = await call("POST", f"{mock}/v1/chat/completions", json={**CHAT, "max_tokens": 2})
    assert status == 200
    (choice,) = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 2)


async def test_a_chat_is_streamed(mock: str) -> None:
    """Usage comes last and alone, and only if it is asked for."""
    for options, usages in ((None, []), ({"include_usage": True}, [3])):
        body, whole = await stream(mock, "/v1/chat/completions", {**CHAT, "stream_options": options})
        *events, done = data_of(body)
        assert (whole, done) == (True, "[DONE]")
        said = [choice["delta"].get("content") for each in events for choice in each["choices"]]
        assert said == ["", "one", " two", " three", None]
        assert [each["usage"]["completion_tokens"] for each in events if "usage" in each] == usages


async def test_a_message_is_streamed(mock: str) -> None:
    """With the names of its events; the usage of the input first, that of the output last."""
    body, _ = await stream(mock, "/v1/messages", MESSAGES)
    events = data_of(body)
    assert [f"event: {each['type']}".encode() for each in events] == body.splitlines()[::3]
    assert (events[0]["message"]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"]) == (3, 3)
    assert events[-1]["type"] == "message_stop"


async def test_a_response_is_streamed(mock: str) -> None:
    """Its last event has the whole of it."""
    body, _ = await stream(mock, "/v1/responses", {"model": "m", "input": "one two"})
    events = data_of(body)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert "".join(each["delta"] for each in events if each["type"].endswith(".delta")) == "one two"
    assert (events[-1]["type"], events[-1]["response"]["usage"]["output_tokens"]) == ("response.completed", 2)


@pytest.mark.parametrize(
    "behaviour",
    [
        {"line_end": "crlf", "comments": True, "pieces": "bytes"},
        {"line_end": "cr", "space": False, "pieces": "one"},
        {"coding": "gzip"},
        {"tokens_per_second": 1000, "first_token_s": 0.001, "stall_after_tokens": 1, "stall_s": 0.001},
    ],
)
async def test_however_it_is_cut_the_events_are_the_same(mock: str, behaviour: dict[str, Any]) -> None:
    """Line ends, comments, pieces, codings and times are not part of what is said."""
    plain, _ = await stream(mock, "/v1/messages", MESSAGES | {"model": "plain"})
    await behave(mock, "odd", stream=behaviour)
    odd, whole = await stream(mock, "/v1/messages", MESSAGES | {"model": "odd"})
    if "coding" in behaviour:
        odd = gzip.decompress(odd)
    expected = [each for each in data_of(plain) if each["type"] != "message_start"]
    assert whole
    assert [each for each in data_of(odd) if each["type"] != "message_start"] == expected
    assert (b": PROCESSING\r\n\r\n" in odd) == ("comments" in behaviour)


@pytest.mark.parametrize(
    ("behaviour", "count", "last", "ends"),
    [
        ({"error_after_tokens": 1}, 3, "error", True),
        ({"end_after_tokens": 2}, 3, "chat.completion.chunk", True),
        ({"cut_at_byte": 300}, 2, "chat.completion.chunk", False),
        ({"done": False}, 5, "chat.completion.chunk", True),
        ({"finish": False, "done": False}, 4, "chat.completion.chunk", True),
    ],
)
async def test_a_stream_that_ends_badly(
    mock: str, behaviour: dict[str, Any], count: int, last: str, ends: bool
) -> None:
    """With an error, in the middle with or without the end of its body, or without what says that it is whole."""
    await behave(mock, "bad", stream=behaviour)
    body, whole = await stream(mock, "/v1/chat/completions", CHAT | {"model": "bad"})
    assert whole == ends
    if "cut_at_byte" in behaviour:
        assert len(body) == behaviour["cut_at_byte"]
        return
    events = data_of(body)
    assert len(events) == count
    assert last in events[-1] or events[-1]["object"] == last


@pytest.mark.parametrize(("path", "shape"), [("/v1/chat/completions", "error"), ("/v1/messages", "type")])
async def test_failures_have_the_dialects_shape(mock: str, path: str, shape: str) -> None:
    """And the status and Retry-After that they are to have; so has what is wrong with a request."""
    await behave(mock, "failing", failure_rate=1.0, failure_status=429, retry_after="3")
    async with aiohttp.ClientSession() as session:
        async with session.post(mock + path, json=MESSAGES | {"model": "failing"}) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
            assert next(iter(await answer.json())) == shape
        async with session.post(mock + path, data=b"{}") as answer:
            assert answer.status == 400
            assert next(iter(await answer.json())) == shape


async def test_a_form_names_its_model_behind_its_file(mock: str) -> None:
    """As clients send it: the file can come first."""
    form = aiohttp.FormData()
    form.add_field("file", b"x" * 100_000, filename="a.mp3")
    form.add_field("model", "m")
    assert await call("POST", f"{mock}/v1/audio/transcriptions", data=form) == (200, {"text": "100000 bytes of sound"})


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"cut_at_byte": -1}, "stream.cut_at_byte: Expected `int` >= 0, got -1"),
        ({"line_end": "x"}, "stream.line_end: Invalid enum value 'x', got 'x'"),
        ({"cut": 1}, "stream: Object contains unknown field `cut`, got {'cut': 1}"),
    ],
)
async def test_a_wrong_behaviour_is_named(mock: str, behaviour: dict[str, Any], said: str) -> None:
    """The field within it, the value and what is allowed."""
    assert await call("PUT", f"{mock}/config/m", json={"stream": behaviour}) == (422, {"error": said})
