"""Other models in place of one that fails: the official clients get their answer all the same, and one only."""

from typing import Any

import pytest

from tests.clients.calls import STREAMED, TEXTS, each_dialect, shown, streamed_calls, texts
from tests.clients.stack import Stack
from tests.processes import Json

OTHER = "its-own/big"
"""What the upstream calls the model that takes the other's place."""
FAILS = {
    "cut": {"end_after_tokens": 0, "finish": False, "done": False, "comments": True},
    "broken": {"cut_at_byte": 20},
    "error": {"error_after_tokens": 0},
    "silent": {"first_token_s": 60.0},
}


def row_of(stack: Stack, response: Any) -> Json:
    (row,) = stack.rows(f"request_id={response.headers['x-request-id']}")
    return row


@streamed_calls
@pytest.mark.parametrize("status", [429, 500])
def test_a_whole_answer(stack: Stack, name: str, status: int) -> None:
    """Is the other model's, as it says it itself; record and header name it, and the one that was asked for."""
    call = STREAMED[name]
    model_id = f"replaced-{call.dialect}/{name}-{status}"
    stack.fail(model_id, status)
    with call.client(stack) as client, call.direct(stack) as direct:
        raw = call.make_raw(client, model_id)
        assert shown(raw.parse()) == shown(call.make(direct, OTHER))
    served = f"stand-in-{call.dialect}/big"
    assert raw.headers["x-served-by"] == served
    row = row_of(stack, raw)
    told = [row[field] for field in ("model_id", "fallback_from", "success", "attempts", "status_code")]
    assert told == [served, model_id, True, 2, 200]
    (asked,) = stack.tap.requests(model_id)
    other = next(each for each in stack.tap.requests(OTHER)[::-1] if each.headers["x-request-id"] == row["request_id"])
    assert other.body == asked.body.replace(f'"{model_id}"'.encode(), f'"{OTHER}"'.encode())
    assert (other.path, other.headers["authorization"]) == (asked.path, asked.headers["authorization"])


@pytest.mark.parametrize("name", [name for name in STREAMED if "tool" not in name])  # whose name is output at once
@pytest.mark.parametrize("fails", FAILS)
def test_a_stream_that_fails_before_its_output(stack: Stack, name: str, fails: str) -> None:
    """Leaves nothing behind: its client sees the other one's events, with one beginning."""
    call = STREAMED[name]
    model_id = f"replaced-{call.dialect}/{name}-{fails}"
    stack.behave(model_id, stream=FAILS[fails])
    with call.client(stack) as client, call.direct(stack) as direct:
        raw = call.make_raw(client, model_id, stream=True)
        events, expected = list(raw.parse()), list(call.make(direct, OTHER, stream=True))
    assert [each.type for each in events if hasattr(each, "type")] == [
        each.type for each in expected if hasattr(each, "type")
    ]
    assert [shown(each) for each in events if _says(each)] == [shown(each) for each in expected if _says(each)]
    assert raw.headers["x-served-by"] == f"stand-in-{call.dialect}/big"
    row = row_of(stack, raw)
    told = [row[field] for field in ("model_id", "fallback_from", "success", "attempts", "streamed")]
    assert told == [f"stand-in-{call.dialect}/big", model_id, True, 2, True]
    assert row["output_tokens"] is not None


def _says(event: Any) -> bool:
    """An event that is the same each time."""
    return not hasattr(event, "type") or event.type not in ("response.created", "response.completed")


@texts
def test_a_stream_that_fails_after_its_first_output(stack: Stack, name: str) -> None:
    """Fails for its client, who gets no second answer."""
    call = TEXTS[name]
    model_id = f"replaced-{call.dialect}/{name}-later"
    stack.behave(model_id, stream={"end_after_tokens": 2, "finish": False, "done": False})
    with call.client(stack) as client, pytest.raises(Exception, match="its stream ended before"):
        list(call.make(client, model_id, stream=True))
    row = stack.record(model_id)
    assert [row[field] for field in ("fallback_from", "error_type", "attempts")] == [None, "invalid_response", 1]


@each_dialect
def test_it_is_switched_off(stack: Stack, name: str) -> None:
    """By a header of the request."""
    call = TEXTS[name]
    model_id = f"replaced-{call.dialect}/{name}-off"
    stack.fail(model_id, 503)
    with call.client(stack) as client, pytest.raises(Exception, match="mock failure"):
        call.make(client, model_id, extra_headers={"x-fallback": "off"})
    row = stack.record(model_id)
    assert (row["fallback_from"], row["attempts"]) == (None, 1)
    (request,) = stack.tap.requests(model_id)
    assert "x-fallback" not in request.headers


def test_a_form(stack: Stack) -> None:
    """Only its field is another."""
    model_id, sound = "replaced-openai/upload", b"sound" * 100_000
    stack.fail(model_id, 500)
    with stack.openai() as client:
        raw = client.audio.transcriptions.with_raw_response.create(model=model_id, file=("a.mp3", sound))
    assert raw.parse().text == f"{len(sound)} bytes of sound"
    assert row_of(stack, raw)["fallback_from"] == model_id
    (asked,), (other,) = stack.tap.forms(model_id), stack.tap.forms(OTHER)
    assert other.body == asked.body.replace(model_id.encode(), OTHER.encode())
