"""What goes wrong: the error that an official client raises, its retries, and the record of each HTTP call."""

from typing import Any

import anthropic
import openai
import pytest

from tests.clients.calls import TEXTS, Call, each_dialect, text_in, texts, up_to_text
from tests.clients.stack import Stack

DIALECTS: dict[str, Any] = {"chat": openai, "message": anthropic}
STATUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "APIStatusError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
    529: "InternalServerError",
}
SOON = "0.01"
"""Seconds after which a client tries again; it takes fractions, and so waits no longer in these tests."""


def error_of(call: Call) -> Any:
    """What a client raises for an error inside of a stream."""
    return openai.APIError if call.dialect == "openai" else anthropic.APIStatusError


@each_dialect
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", STATUSES)
def test_an_upstreams_error(stack: Stack, name: str, status: int, stream: bool) -> None:
    """Is the client's own for that status, with the upstream's words, and one failure."""
    call, model_id = TEXTS[name], f"error-{name}-{status}-{stream}"
    stack.fail(model_id, status)
    with call.client(stack) as client, pytest.raises(getattr(DIALECTS[name], STATUSES[status])) as caught:
        call.make(client, model_id, stream=stream)
    assert caught.value.status_code == status
    assert f"mock failure of model '{model_id}'" in str(caught.value)
    row = stack.record(model_id)
    assert (row["success"], row["error_type"]) == (False, "upstream_status")
    assert row["error_log"].startswith(f"upstream answered {status}")
    assert caught.value.response.headers["x-request-id"] == row["request_id"]


@each_dialect
def test_a_refusal_of_the_gateways(stack: Stack, name: str) -> None:
    """Is an error of the client's, too, that says what was wrong; and no call."""
    call, dialect, recorded = TEXTS[name], DIALECTS[name], stack.total()
    with call.client(stack) as client, pytest.raises(dialect.BadRequestError) as caught:
        call.make(client, "")
    error = caught.value.body if name == "chat" else caught.value.body["error"]
    assert (error["type"], "model" in error["message"]) == ("invalid_request_error", True)
    assert stack.total() == recorded


def test_a_model_that_isnt_listed(stack: Stack) -> None:
    """Is not found, in the words of the upstream that it would go to."""
    stack.behave("listed")
    with stack.openai() as client, pytest.raises(openai.NotFoundError, match="there is no model 'none'"):
        client.models.retrieve("none")


@each_dialect
def test_an_upstream_that_is_away(stack: Stack, name: str) -> None:
    """An error of the server's, that says whose it is."""
    call, model_id = TEXTS[name], "org/away" if name == "chat" else "claude-away"
    with call.client(stack) as client, pytest.raises(DIALECTS[name].InternalServerError) as caught:
        call.make(client, model_id)
    assert caught.value.status_code == 502
    assert stack.record(model_id)["error_type"] == "connect"


@each_dialect
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_retries(stack: Stack, name: str, status: int, stream: bool) -> None:
    """Each is a call of its own, and a record; the client waits as the upstream says, and counts them for it."""
    call, model_id = TEXTS[name], f"again-{name}-{status}-{stream}"
    stack.fail(model_id, status, SOON)
    with call.client(stack, max_retries=2) as client, pytest.raises(DIALECTS[name].APIStatusError) as caught:
        call.make(client, model_id, stream=stream, extra_headers={"x-request-id": f"same-{name}"})
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == SOON
    rows = stack.records(model_id, 3)
    assert [(row["error_type"], row["request_id"]) for row in rows] == [("upstream_status", f"same-{name}")] * 3
    assert [each.headers["x-stainless-retry-count"] for each in stack.tap.requests(model_id)] == ["0", "1", "2"]


@each_dialect
@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_is_not_tried_again(stack: Stack, name: str, status: int) -> None:
    """Is one call, however often the client may try."""
    call, model_id = TEXTS[name], f"once-{name}-{status}"
    stack.fail(model_id, status, SOON)
    with call.client(stack, max_retries=5) as client, pytest.raises(DIALECTS[name].APIStatusError):
        call.make(client, model_id)
    assert len(stack.records(model_id, 1)) == 1


@texts
@pytest.mark.parametrize("stream", [False, True])
def test_a_retry_that_succeeds(stack: Stack, name: str, stream: bool) -> None:
    """A failure and a success."""
    call, model_id = TEXTS[name], f"mended-{name}-{stream}"
    stack.fail(model_id, 503, SOON)

    def mend(_response: object) -> None:
        stack.behave(model_id)

    with call.client(stack, max_retries=2) as client:
        client._client.event_hooks["response"].append(mend)
        answer = call.make(client, model_id, stream=stream)
        if stream:
            assert "".join(map(text_in, answer)) == "one two three four"
    rows = stack.records(model_id, 2)
    assert [row["error_type"] for row in rows] == ["upstream_status", None]


@texts
@pytest.mark.parametrize("retries", [0, 1])
def test_a_client_that_waits_no_longer(stack: Stack, name: str, retries: int) -> None:
    """Has left, each time that it tries."""
    call, model_id = TEXTS[name], f"impatient-{name}-{retries}"
    stack.behave(model_id, latency="fixed:60s")
    impatient = call.client(stack, max_retries=retries, timeout=0.3)
    with impatient as client, pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError)):
        call.make(client, model_id)
    rows = stack.records(model_id, retries + 1)
    assert [row["error_type"] for row in rows] == ["client_disconnected"] * (retries + 1)


@each_dialect
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_takes_too_long(stack: Stack, name: str, stream: bool) -> None:
    """Is ended by the gateway, in its own time, before anything is answered."""
    call, model_id = TEXTS[name], f"hurried-{name}-{'stream' if stream else 'whole'}"
    stack.behave(model_id, latency="fixed:60s")
    with call.client(stack) as client, pytest.raises(DIALECTS[name].InternalServerError) as caught:
        call.make(client, model_id, stream=stream)
    assert caught.value.status_code == 504
    assert "no whole answer within 0.3 s" in str(caught.value)
    assert stack.record(model_id)["error_type"] == "timeout"


@texts
@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ({"error_after_tokens": 2}, "mock failure of model"),
        ({"cut_at_byte": 700}, "it broke off after 700 bytes"),
        ({"end_after_tokens": 2, "finish": False, "done": False}, "its stream ended before the answer did"),
        ({"end_after_tokens": 2, "finish": False, "done": False, "pieces": "bytes"}, "its stream ended before"),
    ],
    ids=["error", "cut", "end", "end of bytes"],
)
def test_a_stream_that_fails(stack: Stack, name: str, stream: dict[str, Any], why: str) -> None:
    """Is never taken for a whole one: the client gets what came, and then raises an error with the reason."""
    call, model_id = TEXTS[name], f"broken-{name}-{'-'.join(map(str, stream))}"
    stack.behave(model_id, stream=stream)
    got: list[str] = []
    with call.client(stack) as client:
        events = call.make(client, model_id, stream=True)
        with pytest.raises(error_of(call), match=why):
            got.extend(map(text_in, events))
    assert "one two three four".startswith("".join(got))
    row = stack.record(model_id)
    assert (row["success"], row["error_type"]) == (False, "invalid_response")
    assert why in row["error_log"]


@texts
async def test_an_asynchronous_stream_that_fails(stack: Stack, name: str) -> None:
    """Likewise."""
    call, model_id = TEXTS[name], f"async-broken-{name}"
    stack.behave(model_id, stream={"error_after_tokens": 2})
    async with call.async_client(stack) as client, await call.make(client, model_id, stream=True) as events:
        with pytest.raises(error_of(call), match="mock failure of model"):
            async for _ in events:
                pass
    assert stack.record(model_id)["error_type"] == "invalid_response"


@texts
def test_a_stream_that_is_cut_before_it_began(stack: Stack, name: str) -> None:
    """Is an error with a status, which the client tries again."""
    call, model_id = TEXTS[name], f"cut-{name}"
    stack.behave(model_id, stream={"cut_at_byte": 1})
    failure: Any = openai.InternalServerError if call.dialect == "openai" else anthropic.InternalServerError
    with call.client(stack, max_retries=1) as client, pytest.raises(failure) as caught:
        call.make(client, model_id, stream=True)
    assert caught.value.status_code == 502
    assert [row["error_type"] for row in stack.records(model_id, 2)] == ["invalid_response"] * 2


@texts
def test_a_worker_that_dies(stack: Stack, name: str) -> None:
    """In the middle of a stream: the client's connection breaks, and the record says why."""
    call, model_id = TEXTS[name], f"died-{name}"
    stack.behave(model_id, stream={"tokens_per_second": 1})
    with call.client(stack) as client, call.make(client, model_id, stream=True) as events:
        assert "".join(map(text_in, up_to_text(events))) == "one"
        stack.kill_worker()
        with pytest.raises(Exception, match=r"(?i)connection|peer closed") as caught:
            list(events)
    assert type(caught.value).__name__ in {"APIConnectionError", "RemoteProtocolError", "ReadError"}
    assert stack.record(model_id)["error_type"] == "gateway_died"
