"""What streams took: asked for, hidden from callers that haven't asked, recorded, and when their output came."""

import json
from collections.abc import AsyncIterator, Callable

import pytest

from invoker.http.pieces import LARGE_BYTES, Pieces
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import Answer, FakeClock, FakeExchange
from tests.invoker.front.hostile import whole

CHAT, COMPLETIONS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
BODY = b'{"model": "m", "stream": true, "n": 1.0}'
ASKING = b'{"stream_options":{"include_usage":true},"model": "m", "stream": true, "n": 1.0}'
ASKED = b'{"model": "m", "stream": true, "stream_options": {"include_usage": true}}'
EVENTS = {b"content-type": b"text/event-stream"}
ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
TEXT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}\n\n'
DONE = b"data: [DONE]\n\n"
START = b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}\n\n'


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    url = "http://upstream.test/v1"
    named = {
        "m": Model(single(url), 60.0),
        "as-is": Model(single(url), 60.0, asks_usage=False),
        "hurried": Model(single(url), 60.0, first_token_s=0.05, idle_s=60.0),
        "patient": Model(single(url), 60.0, first_token_s=60.0, idle_s=60.0),
    }
    known = Models(named, None)
    async with started(Gateway(Models({}, None, dialects={"openai": known, "anthropic": known}))) as one:
        one.answering.max_body_bytes = 4 * LARGE_BYTES
        yield one


def answering(gateway: Gateway, *pieces: bytes, **more: bytes) -> None:
    async def script(_body: bytes) -> Answer:
        return 200, Pieces(pieces), EVENTS | {name.replace("_", "-").encode(): said for name, said in more.items()}

    gateway.script = script


def sent_up(gateway: Gateway) -> list[bytes]:
    return [whole(body) for _, body in gateway.upstream.posts]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("size", [0, LARGE_BYTES], ids=["small", "large"])
async def test_usage_is_asked_for_and_taken_out_again(gateway: Gateway, path: str, size: int) -> None:
    """The caller's body and stream are as if it weren't; and so are the sizes in the record."""
    answering(gateway, ROLE + TEXT, TEXT + USAGE[:9], USAGE[9:], DONE)
    body = BODY[:-1] + b', "x": "%b"}' % (b"a" * size)
    reply = await gateway.request("POST", path, body)
    assert (reply.status, reply.body) == (200, ROLE + TEXT + TEXT + DONE)
    assert sent_up(gateway) == [ASKING[:-1] + b', "x": "%b"}' % (b"a" * size)]
    (record,) = gateway.journal.records
    assert (record.error_type, record.input_tokens, record.output_tokens) == (None, 9, 3)
    assert (record.input_size, record.output_size) == (len(body), len(reply.body))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, ASKED),
        (CHAT, BODY.replace(b'"m"', b'"as-is"')),
        (RESPONSES, BODY),
        (MESSAGES, BODY),
        ("/v1/other", BODY),
        (CHAT, b'{"model": "m", "stream": false}'),
    ],
)
async def test_usage_is_not_asked_for(gateway: Gateway, path: str, body: bytes) -> None:
    """By who has asked, in whose dialect it comes by itself, or whose upstream isn't to be; what comes goes on."""
    answering(gateway, TEXT, USAGE, DONE)
    reply = await gateway.request("POST", path, body)
    assert (reply.status, reply.body) == (200, TEXT + USAGE + DONE)
    assert sent_up(gateway) == [body]
    (record,) = gateway.journal.records
    assert record.output_size == len(TEXT + USAGE + DONE)


def refusing(gateway: Gateway, refused: Callable[[bytes], Answer | None]) -> None:
    async def script(body: bytes) -> Answer:
        return refused(body) or (200, Pieces([TEXT, DONE]), EVENTS)

    gateway.script = script


@pytest.mark.parametrize("status", [400, 422])
async def test_an_upstream_that_refuses_to_be_asked(gateway: Gateway, status: int) -> None:
    """Gets the request as it was written, and the next one at once; no caller sees it."""
    refusal = b'{"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]}'
    refusing(gateway, lambda body: (status, refusal, {}) if b"include_usage" in body else None)
    for _ in range(2):
        reply = await gateway.request("POST", CHAT, BODY)
        assert (reply.status, reply.body) == (200, TEXT + DONE)
    assert sent_up(gateway) == [ASKING, BODY, BODY]
    told = [(each.error_type, each.attempts, each.status_code, each.input_tokens) for each in gateway.journal.records]
    assert told == [(None, 2, 200, None), (None, 1, 200, None)]


@pytest.mark.parametrize(
    ("status", "answer", "attempts"),
    [(400, b"no such model", 1), (400, b"stream_options: no", 2), (500, b"stream_options: no", 1), (422, b"", 1)],
)
async def test_what_is_refused_otherwise(gateway: Gateway, status: int, answer: bytes, attempts: int) -> None:
    """Is the caller's to see; and a second refusal says that it wasn't for that."""
    refusing(gateway, lambda _body: (status, answer, {}))
    for _ in range(2):
        reply = await gateway.request("POST", CHAT, BODY)
        assert (reply.status, reply.body) == (status, answer)
    assert sent_up(gateway) == [ASKING, BODY][:attempts] * 2
    told = [(each.error_type, each.attempts, each.status_code) for each in gateway.journal.records]
    assert told == [(ErrorType.UPSTREAM_STATUS, attempts, status)] * 2


async def test_what_was_reported_counts_whatever_follows(gateway: Gateway) -> None:
    """A stream that breaks off, or says that it failed, has taken what it has taken."""
    answering(gateway, START, breaks_off=b"1")
    with pytest.raises(ValueError, match="invalid literal"):  # no end of its body
        await gateway.request("POST", MESSAGES, BODY)
    failed = b'data: {"type": "response.failed", "response": {"usage": {"input_tokens": 9, "output_tokens": 2}}}\n\n'
    answering(gateway, failed)
    await gateway.request("POST", RESPONSES, BODY)
    assert [(each.error_type, each.input_tokens, each.output_tokens) for each in gateway.journal.records] == [
        (ErrorType.INVALID_RESPONSE, 9, 1),
        (ErrorType.INVALID_RESPONSE, 9, 2),
    ]


def timed(monkeypatch: pytest.MonkeyPatch, gateway: Gateway, *pieces: tuple[int, bytes]) -> None:
    """Each piece comes so many µs after the one before."""

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        clock = gateway.invoker._clock
        assert isinstance(clock, FakeClock)
        for waited_us, piece in pieces:
            clock.elapsed_us += waited_us
            yield piece

    monkeypatch.setattr(FakeExchange, "chunks", chunks)
    answering(gateway)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([(70, ROLE), (30, b": ping\n\n"), (400, TEXT), (100, TEXT), (151, TEXT), (900, USAGE + DONE)], (500, 126)),
        ([(500, TEXT + TEXT), (900, USAGE + DONE)], (500, 0)),
        ([(500, TEXT), (100, TEXT), (9, DONE)], (500, None)),
        ([(500, TEXT), (100, USAGE.replace(b"3", b"1") + DONE)], (500, None)),
        ([(500, ROLE), (100, USAGE + DONE)], (None, None)),
        ([(500, TEXT[:9]), (100, TEXT[9:]), (7, DONE)], (600, None)),
    ],
)
async def test_when_its_output_came(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    pieces: list[tuple[int, bytes]],
    expected: tuple[int | None, int | None],
) -> None:
    """The first after the call was accepted, and from there to the last for each further token, if that is known."""
    timed(monkeypatch, gateway, *pieces)
    await gateway.request("POST", CHAT, BODY)
    (record,) = gateway.journal.records
    assert (record.time_to_first_token_us, record.time_per_output_token_us) == expected


async def test_a_whole_answer_has_no_first_output(gateway: Gateway) -> None:
    """It has a latency."""

    async def script(_body: bytes) -> Answer:
        return 200, b'{"usage": {"prompt_tokens": 9, "completion_tokens": 3}}', {}

    gateway.script = script
    await gateway.request("POST", CHAT, BODY)
    (record,) = gateway.journal.records
    assert (record.output_tokens, record.time_to_first_token_us, record.time_per_output_token_us) == (3, None, None)


@pytest.mark.parametrize("first", [b"", ROLE, b": ping\n\n"], ids=["nothing", "a role", "a ping"])
async def test_a_stream_whose_first_output_is_late(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    """Ended as the upstream's fault, with a status if nothing was sent; its caller sees why."""
    never: list[bool] = []

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        try:
            if first:
                yield first
            await gateway.invoker.flights.loop.create_future()
        finally:
            never.append(True)

    monkeypatch.setattr(FakeExchange, "chunks", chunks)
    answering(gateway)
    body = BODY.replace(b'"m"', b'"hurried"')
    if first:
        with pytest.raises(ValueError, match="invalid literal"):  # no end of its body
            await gateway.request("POST", CHAT, body)
    else:
        reply = await gateway.request("POST", CHAT, body)
        assert reply.status == 504
        assert json.loads(reply.body)["error"]["message"] == "upstream's stream gave no output within 0.05 s"
    (record,) = gateway.journal.records
    assert record.error_type is ErrorType.TIMEOUT
    assert record.error_log == "upstream's stream gave no output within 0.05 s"
    assert record.time_to_first_token_us is None
    assert never == [True]
    assert gateway.invoker.in_flight.total == 0


async def test_a_head_that_is_late(gateway: Gateway) -> None:
    """Of a stream that was asked for; a whole answer has the time of the whole call."""

    async def script(_body: bytes) -> Answer:
        await gateway.invoker.flights.loop.create_future()
        raise AssertionError

    gateway.script = script
    reply = await gateway.request("POST", CHAT, BODY.replace(b'"m"', b'"hurried"'))
    assert reply.status == 504
    assert [each.error_type for each in gateway.journal.records] == [ErrorType.TIMEOUT]


async def test_first_output_in_time(gateway: Gateway) -> None:
    """Ends nothing."""
    answering(gateway, ROLE, TEXT, DONE)
    reply = await gateway.request("POST", CHAT, BODY.replace(b'"m"', b'"patient"'))
    assert reply.body == ROLE + TEXT + DONE
    assert [each.error_type for each in gateway.journal.records] == [None]
