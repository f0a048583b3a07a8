"""Streams in the forms that servers of these dialects were seen to send, through the gateway: nothing of them is
changed, and each ends as what it is."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from invoker.http.pieces import Pieces
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import Answer, FakeExchange

EVENTS = b"text/event-stream"
TEXT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
AZURES_FIRST = b'data: {"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
WITHOUT_DELTA = b'data: {"choices":[{"index":0,"finish_reason":null,"content_filter_results":{}}]}\n\n'
TOOLS = b"".join(
    b'data: {"choices": [{"delta": {"tool_calls": [{%b"id": "%b", "function": {"arguments": "{"}}]}}]}\n\n' % each
    for each in [(b'"index": 0, ', b"a"), (b'"index": 0, ', b"b"), (b"", b"c")]
)
FIELDS = b'id: 7\nretry: 100\nevent: chunk\nunknown: 1\ndata: {"choices": []}\n\n'
SPREAD = b'data: {"choices":\ndata: [{"delta": {"content": "a"}}]}\n\n'
COMMENTS = b": PROCESSING\n\n:\n\n: one more\n"
NUMBERS = b'data: {"choices": [], "n": 1.0, "big": 123456789012345678901234567890, "e": 1E+2}\n\n'
LARGE = b'data: {"choices": [{"delta": {"audio": "%b"}}]}\n\n' % (b"x" * 3 * 1024 * 1024)
WHOLE = {
    "Azure's": AZURES_FIRST + WITHOUT_DELTA + TEXT + STOP + DONE,
    "tools of one index": TOOLS + STOP + DONE,
    "all fields": FIELDS + TEXT + DONE,
    "an event on two lines": SPREAD + DONE,
    "comments": COMMENTS + TEXT + COMMENTS + DONE,
    "numbers": NUMBERS + DONE,
    "a large event": LARGE + DONE,
    "a reason and no end": TEXT + STOP,
    "an end and no reason": TEXT + DONE,
    "an end without its blank line": TEXT + DONE.rstrip(),
    "no space": (TEXT + STOP + DONE).replace(b"data: ", b"data:"),
    "the end first": DONE,
}
FAILED = {
    "a bare line": b'{"error": {"message": "no", "code": 500}}\n',
    "a bare line, and a blank one": b'{"error": {"message": "no"}}\n\n',
    "no name": b'data: {"error": {"message": "no"}}\n\n',
    "a name": b'event: error\ndata: {"message": "no"}\n\n',
    "a type": b'data: {"type": "error", "code": "server_error", "message": "no"}\n\n',
    "a text": b"event: error\ndata: no\n\n",
    "a response": b'event: response.failed\ndata: {"type": "response.failed", "response": {"error": "no"}}\n\n',
    "an end behind it": b'data: {"error": {"message": "no"}}\n\n' + DONE,
}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    known = Models({"m": Model(single("http://upstream.test/v1"), 60.0)}, None)
    async with started(Gateway(Models({}, None, dialects={"openai": known, "anthropic": known}))) as one:
        yield one


def answering(gateway: Gateway, *pieces: bytes, media_type: bytes = EVENTS) -> None:
    async def script(_body: bytes) -> Answer:
        return 200, Pieces(pieces), {b"content-type": media_type}

    gateway.script = script


async def ask(gateway: Gateway, body: bytes = b'{"model": "m", "stream": true}') -> tuple[int, bytes]:
    reply = await gateway.request("POST", "/v1/chat/completions", body)
    return reply.status, reply.body


@pytest.mark.parametrize("pieces", [1, 1000])
@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_stream(gateway: Gateway, name: str, pieces: int) -> None:
    """It comes as it was sent, and nothing is invented."""
    sent = WHOLE[name]
    cut = -(-len(sent) // pieces)
    answering(gateway, *(sent[at : at + cut] for at in range(0, len(sent), cut)))
    assert await ask(gateway) == (200, sent)
    (record,) = gateway.journal.records
    assert (record.error_type, record.output_size) == (None, len(sent))


async def test_what_comes_with_the_end(gateway: Gateway) -> None:
    """Goes on with it."""
    answering(gateway, TEXT, DONE + COMMENTS + DONE)
    assert await ask(gateway) == (200, TEXT + DONE + COMMENTS + DONE)
    assert [record.error_type for record in gateway.journal.records] == [None]


@pytest.mark.parametrize("first", [b"", TEXT], ids=["at first", "later"])
@pytest.mark.parametrize("name", FAILED)
async def test_a_stream_that_says_that_it_fails(gateway: Gateway, name: str, first: bytes) -> None:
    """However it says so: a failure of the upstream's, whose words go through and are kept."""
    answering(gateway, first, FAILED[name])
    _, body = await ask(gateway)
    assert body.startswith(first + FAILED[name].removesuffix(DONE))
    (record,) = gateway.journal.records
    assert record.error_type is ErrorType.INVALID_RESPONSE
    assert "no" in record.error_log.removeprefix("upstream's answer is not usable")


@pytest.mark.parametrize("pieces", [[], [b""], [COMMENTS]], ids=["nothing", "an empty piece", "comments"])
async def test_a_stream_without_events(gateway: Gateway, pieces: list[bytes]) -> None:
    """Is no answer; if nothing of it was sent, that has a status."""
    answering(gateway, *pieces)
    try:
        status, body = await ask(gateway)
    except ValueError:
        status, body = 200, b"its stream ended"  # a body without an end isn't read by this caller
    assert status == (200 if pieces == [COMMENTS] else 502)
    assert b"its stream ended" in body
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.INVALID_RESPONSE]


@pytest.mark.parametrize("media_type", [b"text/event-stream; charset=utf-8", b"Text/Event-Stream"])
@pytest.mark.parametrize("body", [b'{"model": "m"}', b'{"model": "m", "stream": false}'])
async def test_what_is_a_stream_is_said_by_the_answer(gateway: Gateway, media_type: bytes, body: bytes) -> None:
    """Whatever was asked for."""
    answering(gateway, TEXT, media_type=media_type)
    with pytest.raises(ValueError, match="invalid literal"):  # no end of its body
        await ask(gateway, body)
    answering(gateway, b'{"choices": []}', media_type=b"application/json")
    assert await ask(gateway, b'{"model": "m", "stream": true}') == (200, b'{"choices": []}')
    assert [record.error_type for record in gateway.journal.records] == [ErrorType.INVALID_RESPONSE, None]


async def test_nothing_is_waited_for_behind_the_end(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that keeps its answer open is let go of."""
    left: list[bool] = []

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        try:
            yield TEXT
            yield DONE
            await asyncio.Event().wait()
        finally:
            left.append(True)

    monkeypatch.setattr(FakeExchange, "chunks", chunks)
    answering(gateway)
    assert await ask(gateway) == (200, TEXT + DONE)
    assert [record.error_type for record in gateway.journal.records] == [None]
    assert left == [True]
