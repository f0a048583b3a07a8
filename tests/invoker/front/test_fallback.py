"""Streams of models that others may take the place of, by both servers, and what callers say of it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from invoker.call.holding import MAX_HELD_BYTES
from invoker.http.pieces import Pieces
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started, unchunk, until
from tests.invoker.fakes import Answer, Gate
from tests.invoker.front.test_streams import DONE, ERROR, EVENTS, SERVERS, TEXT, ask

CHAT = b'{"model": "%b", "stream": true}'
MESSAGES = b"/v1/messages"
COMMENT = b": processing\n\n"
ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
START = (
    b'event: message_start\ndata: {"type": "message_start", '
    b'"message": {"model": "%b", "usage": {"input_tokens": 7}}}\n\n'
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BLOCK = (
    b'event: content_block_start\ndata: {"type": "content_block_start", '
    b'"content_block": {"type": "text", "text": ""}}\n\n'
)
DELTA = b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": "%b"}}\n\n'
STOP = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
OVERLOADED = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}\n\n'


class Stage:
    """What each model's server does: pieces of a stream, or a whole answer."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.does: dict[str, Answer | Gate] = {}
        gateway.script = self._answer

    async def _answer(self, body: bytes) -> Answer:
        done = self.does[json.loads(body)["model"]]
        return await done(body) if isinstance(done, Gate) else done

    def streams(self, name: str, *pieces: bytes, then: bytes = b"ends", breaks_off: bool = False) -> None:
        self.does[name] = 200, Pieces(pieces), {**EVENTS, b"breaks-off" if breaks_off else then: b"1"}

    @property
    def asked(self) -> list[str]:
        return [json.loads(body)["model"] for _, body in self.gateway.upstream.posts]

    @property
    def told(self) -> tuple[object, ...]:
        (record,) = self.gateway.journal.records
        return record.model_id, record.fallback_from, record.error_type, record.attempts

    def at_rest(self) -> bool:
        return self.gateway.invoker.in_flight.total == 0 and not self.gateway.journal.open


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    def model(name: str, **settings: object) -> Model:
        return Model(single(f"http://{name}.test"), 60.0, asks_usage=False, **settings)  # type: ignore[arg-type]

    known = Models(
        {
            "a": model("a", fallback=("b",)),
            "hurried": model("a", fallback=("b",), first_token_s=0.05),
            "idle": model("a", fallback=("b",), idle_s=0.05),
            "short": Model(single("http://a.test"), 0.3, fallback=("b",)),
            "b": model("b"),
        },
        None,
    )
    async with started(
        Gateway(Models({}, None, dialects={"openai": known, "anthropic": known, "kserve": known}))
    ) as gateway:
        yield Stage(gateway)


@SERVERS
@pytest.mark.parametrize(
    ("begun", "breaks_off"),
    [
        ([COMMENT], True),
        ([ROLE], True),
        ([COMMENT, ROLE, ROLE[:9]], True),
        ([ROLE], False),
        ([COMMENT, ERROR], False),
        ([], False),
    ],
)
async def test_what_began_without_output_leaves_no_trace(
    stage: Stage, more: bytes, begun: list[bytes], breaks_off: bool
) -> None:
    """A chat's roles and comments are not seen of a model that failed; the other's are."""
    stage.streams("a", *begun, breaks_off=breaks_off)
    stage.streams("b", COMMENT, ROLE, TEXT, DONE)
    head, body = await ask(stage.gateway, more, body=CHAT % b"a")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nx-served-by: b" in head
    assert head.lower().count(b"content-type: text/event-stream") == 1
    assert unchunk(body) == COMMENT + ROLE + TEXT + DONE
    assert stage.told == ("b", "a", None, 2)
    assert stage.at_rest()


@SERVERS
@pytest.mark.parametrize(("end", "breaks_off"), [(b"", True), (b"", False), (OVERLOADED, False)])
async def test_there_is_one_message_start(stage: Stage, more: bytes, end: bytes, breaks_off: bool) -> None:
    """That of the model which answers; and its usage alone is recorded."""
    stage.streams("a", START % b"a", PING, BLOCK, end, breaks_off=breaks_off)
    stage.streams("b", START % b"b", BLOCK, DELTA % b"x", STOP)
    head, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    assert unchunk(body) == START % b"b" + BLOCK + DELTA % b"x" + STOP
    assert b"\r\nx-served-by: b" in head
    assert stage.told == ("b", "a", None, 2)
    (record,) = stage.gateway.journal.records
    assert (record.input_tokens, record.output_size) == (7, len(unchunk(body)))
    assert record.time_to_first_token_us is not None


@SERVERS
@pytest.mark.parametrize("end", [b"", OVERLOADED])
async def test_after_output_there_is_no_second_answer(stage: Stage, more: bytes, end: bytes) -> None:
    """It ends with an error event, as ever."""
    stage.streams("a", START % b"a", DELTA % b"x", end, breaks_off=not end)
    stage.streams("b", START % b"b", STOP)
    head, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    events = unchunk(body if end else body + b"0\r\n\r\n")
    assert events.startswith(START % b"a" + DELTA % b"x" + b"event: error\n")
    assert events.count(b"message_start") == 2  # its name, and its type
    assert b"x-served-by" not in head
    assert stage.asked == ["a"]
    assert stage.told == ("a", None, ErrorType.INVALID_RESPONSE, 1)


@SERVERS
async def test_a_stream_that_another_cut_is_the_others(stage: Stage, more: bytes) -> None:
    """Once some of it was sent, it is what the call came to."""
    stage.streams("a", START % b"a", breaks_off=True)
    stage.streams("b", START % b"b", DELTA % b"x", breaks_off=True)
    _, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    assert unchunk(body + b"0\r\n\r\n").startswith(START % b"b" + DELTA % b"x" + b"event: error\n")
    assert stage.told == ("b", "a", ErrorType.INVALID_RESPONSE, 2)


@SERVERS
async def test_if_all_fail_the_first_ones_error_is_told(stage: Stage, more: bytes) -> None:
    """With its status, as no stream had begun for its caller; or as the upstream itself said it, in one."""
    stage.streams("a", START % b"a", breaks_off=True)
    stage.streams("b", START % b"b", OVERLOADED)
    head, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert json.loads(body)["error"]["message"] == "it broke off"
    assert stage.told == ("a", None, ErrorType.INVALID_RESPONSE, 2)
    stage.gateway.journal.records.clear()
    stage.streams("a", START % b"a", OVERLOADED)
    head, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    assert (head[:15], body) == (b"HTTP/1.1 200 OK", START % b"a" + OVERLOADED)
    assert stage.told == ("a", None, ErrorType.INVALID_RESPONSE, 2)
    assert stage.at_rest()


@SERVERS
async def test_a_stream_without_any_output_goes_on_whole(stage: Stage, more: bytes) -> None:
    """An empty answer is one."""
    stage.streams("a", START % b"a", STOP)
    head, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    assert (head[:15], body) == (b"HTTP/1.1 200 OK", START % b"a" + STOP)
    assert b"content-type: text/event-stream" in head.lower()
    assert stage.told == ("a", None, None, 1)


@SERVERS
async def test_no_more_than_its_bound_is_held_back(stage: Stage, more: bytes) -> None:
    """What has no output for so long goes on, and no other takes its place then."""
    pings = [PING] * (MAX_HELD_BYTES // len(PING) + 1)
    stage.streams("a", START % b"a", *pings, breaks_off=True)
    _, body = await ask(stage.gateway, more, MESSAGES, CHAT % b"a")
    assert unchunk(body + b"0\r\n\r\n").startswith(START % b"a" + b"".join(pings))
    assert stage.told == ("a", None, ErrorType.INVALID_RESPONSE, 1)


@SERVERS
@pytest.mark.parametrize("begun", [None, b"", ROLE])
@pytest.mark.parametrize("model_id", ["hurried", "idle"])
async def test_one_that_is_too_slow_is_replaced(stage: Stage, more: bytes, model_id: str, begun: bytes | None) -> None:
    """Which doesn't begin to answer in time, or stands still before its output."""
    if begun is None:
        model_id, stage.does["hurried"] = "hurried", Gate()
    else:
        stage.streams(model_id, begun, then=b"stands-still")
    stage.streams("b", TEXT, DONE)
    _, body = await ask(stage.gateway, more, body=CHAT % model_id.encode())
    assert unchunk(body) == TEXT + DONE
    assert stage.told == ("b", model_id, None, 2)
    assert stage.at_rest()


@SERVERS
async def test_the_time_is_over_in_the_midst_of_anothers_stream(stage: Stage, more: bytes) -> None:
    """It is that of the model that was asked for."""
    stage.streams("short", ROLE, then=b"breaks-off")
    stage.streams("b", TEXT, then=b"stands-still")
    _, body = await ask(stage.gateway, more, body=CHAT % b"short")
    assert b"upstream gave no whole answer within 0.3 s" in body
    assert stage.told == ("b", "short", ErrorType.TIMEOUT, 2)
    assert stage.at_rest()


@pytest.mark.parametrize("begun", [[], [ROLE], [TEXT]])
@pytest.mark.parametrize("second", [False, True])
async def test_a_caller_that_leaves(stage: Stage, begun: list[bytes], second: bool) -> None:
    """At whichever model: no other is asked, and one record says that it left."""
    stage.streams("a", *begun, then=b"stands-still")
    stage.streams("b", *begun, then=b"stands-still")
    if second:
        stage.streams("a", ROLE, then=b"breaks-off")
    body = CHAT % b"a"
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    asked = ["a", "b"] if second else ["a"]
    await until(lambda: stage.asked == asked)
    if begun == [TEXT]:
        await asyncio.wait_for(reader.readuntil(TEXT), 10)
    writer.transport.abort()
    await until(lambda: stage.gateway.journal.records)
    served = second and begun == [TEXT]
    expected = ("b", "a") if served else ("a", None)
    assert stage.told == (*expected, ErrorType.CLIENT_DISCONNECTED, len(asked))
    assert stage.asked == asked
    assert stage.at_rest()


@SERVERS
async def test_whole_answers(stage: Stage, more: bytes) -> None:
    """As the other upstream says them, its own header of that name left out; its model's name too."""
    stage.does["a"] = 503, b"{}", {b"retry-after": b"1"}
    stage.does["b"] = 200, b'{"model": "its own"}', {b"content-type": b"application/json", b"x-served-by": b"a proxy"}
    head, body = await ask(stage.gateway, more, body=b'{"model": "a"}')
    assert body == b'{"model": "its own"}'
    assert head.lower().count(b"x-served-by") == 1
    assert b"\r\nx-served-by: b" in head
    assert stage.told == ("b", "a", None, 2)


@SERVERS
async def test_a_model_in_the_path(stage: Stage, more: bytes) -> None:
    """There the other's name stands; the body goes on as it is."""
    body = b'{"inputs": [{"name": "a", "shape": [1], "datatype": "INT8", "data": [1]}]}'

    async def script(_body: bytes) -> Answer:
        failed = len(stage.gateway.upstream.posts) == 1
        return 500 if failed else 200, b'{"outputs": []}', {b"content-type": b"application/json"}

    stage.gateway.script = script
    head, _ = await ask(stage.gateway, more, b"/v2/models/a/versions/1/infer", body)
    assert b"\r\nx-served-by: b" in head
    urls = ("http://a.test/v2/models/a/versions/1/infer", "http://b.test/v2/models/b/versions/1/infer")
    assert stage.gateway.upstream.posts == [(url, body) for url in urls]
    assert stage.told == ("b", "a", None, 2)


@SERVERS
@pytest.mark.parametrize(("said", "asked"), [(b"off", ["a"]), (b"OFF", ["a"]), (b"on", ["a", "b"])])
async def test_its_caller_may_switch_it_off(stage: Stage, more: bytes, said: bytes, asked: list[str]) -> None:
    """For this call; upstreams aren't told."""
    stage.streams("a", START % b"a", breaks_off=True)
    stage.streams("b", START % b"b", STOP)
    _, body = await ask(stage.gateway, more + b"X-Fallback: %b\r\n" % said, MESSAGES, CHAT % b"a")
    assert stage.asked == asked
    assert (b"message_start" in body) is True
    assert not any(b"fallback" in lines.lower() for lines in stage.gateway.upstream.headers)


@SERVERS
@pytest.mark.parametrize(
    ("path", "shape"),
    [(b"/invoke", ["error_log"]), (b"/v1/chat/completions", ["error", "message"]), (MESSAGES, ["error", "message"])],
)
@pytest.mark.parametrize("said", [b"no", b"", b"off, on", b"b"])
async def test_what_else_is_said_of_it_is_refused(
    stage: Stage, more: bytes, path: bytes, shape: list[str], said: bytes
) -> None:
    """In the shape of its dialect; it is no call."""
    head, body = await ask(stage.gateway, more + b"X-Fallback: %b\r\n" % said, path, CHAT % b"a")
    found = json.loads(body)
    for key in shape:
        found = found[key]
    assert head.startswith(b"HTTP/1.1 400 ")
    assert found == f"x-fallback: {said.decode()!r} is neither 'on' nor 'off'"
    assert (stage.asked, stage.gateway.journal.records) == ([], [])
    assert stage.gateway.rejected["invalid_request"] == 1
