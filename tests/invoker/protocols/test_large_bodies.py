"""Large bodies: read as small ones are, by another process, while other calls go on."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
from structlog.testing import capture_logs

from invoker.http.pieces import LARGE_BYTES, Pieces
from invoker.protocols.base import BadRequestError, InvalidAnswerError, ReaderDiedError
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.worklet import decode_answer, decode_request
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from invoker.upstream.pool import PooledUpstream
from shared.clock import SystemClock
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started, until
from tests.invoker.front.hostile import whole
from tests.invoker.turns import HELD_UP_S, longest_turn_s
from tests.processes import children

MIB = 1024 * 1024


@pytest.fixture
async def large_bodies() -> AsyncIterator[LargeBodies]:
    made = LargeBodies()
    yield made
    await made.close()


def request_of(text: str, model_id: str = "m") -> bytes:
    return b'{"worklet_input": {"model_id": "%b", "input": %b}}' % (model_id.encode(), text.encode())


TEXTS = ["[1, 2, [3]]", '"\u00e9\\n"', "[]", '{"a": 1}', "1.5", "null", '["]", "\\""]']


@pytest.mark.parametrize("text", TEXTS)
async def test_they_are_read_as_small_ones_are(large_bodies: LargeBodies, text: str) -> None:
    """What is passed on, and what is recorded of it."""
    body = request_of(text)
    for sent in (body, b"\xef\xbb\xbf" + body):
        for pieces in (sent, Pieces([sent[:1], sent[1:9], sent[9:]])):
            call = await large_bodies.decode_request(pieces)
            assert call.name is not None
            assert whole(call.body)[call.name.begin : call.name.end] == b'"m"'
            assert msgspec.structs.replace(call, body=whole(call.body), name=None) == decode_request(body)
    for key in ("worklet_output", "worklet\\u005foutput"):
        answer = b'{"x": "worklet_output", "%b" : %b }' % (key.encode(), text.encode())
        expected, size = decode_answer(answer)
        for place in (1, 20, len(answer) - 3):
            pieces = Pieces([answer[:place], answer[place:]])
            outcome = await large_bodies.decode_answer(pieces)
            assert isinstance(outcome.output, Pieces)
            assert (whole(outcome.output), outcome.output_size) == (bytes(expected), size)


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"{}", request_of("NaN"), b'{"worklet_input": "\xff"}', request_of("1", "")]
)
async def test_they_are_refused_as_small_ones_are(large_bodies: LargeBodies, body: bytes) -> None:
    """With the same status, reason and text."""
    with pytest.raises(BadRequestError) as expected:
        decode_request(body)
    with pytest.raises(BadRequestError) as refused:
        await large_bodies.decode_request(body)
    assert vars(refused.value) == vars(expected.value)
    assert str(refused.value) == str(expected.value)
    with pytest.raises(InvalidAnswerError) as unread:
        decode_answer(body)
    with pytest.raises(InvalidAnswerError) as unread_there:
        await large_bodies.decode_answer(body)
    assert str(unread_there.value) == str(unread.value)


async def test_each_gets_its_own(large_bodies: LargeBodies) -> None:
    """Many at once, more than the process is given at a time; and those that nobody waits for any more."""
    tasks = [asyncio.create_task(large_bodies.decode_request(request_of("1", f"m-{number}"))) for number in range(200)]
    await tasks[0]
    for task in tasks[1::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        if not isinstance(result, BaseException):
            assert result.model_id == f"m-{number}"
        else:
            assert (number % 2, type(result)) == (1, asyncio.CancelledError)
    assert (await large_bodies.decode_request(request_of("1", "last"))).model_id == "last"


async def test_a_process_that_dies_is_replaced(large_bodies: LargeBodies) -> None:
    """Those that wait for it are told, and the next body starts another."""
    before = children(os.getpid())
    await large_bodies.decode_request(request_of("1"))
    (reader,) = children(os.getpid()) - before
    os.kill(reader, signal.SIGSTOP)
    tasks = [asyncio.create_task(large_bodies.decode_request(request_of("1"))) for _ in range(3)]
    await until(lambda: len(large_bodies._waiting) == 3)
    os.kill(reader, signal.SIGKILL)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, ReaderDiedError)
    assert (await large_bodies.decode_request(request_of("1"))).model_id == "m"
    await large_bodies.close()
    assert children(os.getpid()) == before


async def test_a_process_that_ends_each_time_shows(large_bodies: LargeBodies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a body is read again; and it is logged once."""
    body = request_of("[1]")
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("invoker.protocols.large_bodies.MODULE", "invoker.nothing")
        for _ in range(3):
            with pytest.raises(ReaderDiedError):
                await large_bodies.decode_request(body)
            assert large_bodies.failure is not None
    assert [entry["event"] for entry in logs].count("large_bodies.process_lost") == 1
    await large_bodies.decode_request(body)
    assert [large_bodies.failure] == [None]


async def test_it_ends_with_its_worker_and_leaves_no_file_open() -> None:
    """Whether it is closed or only forgotten."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a descriptor that is gone meanwhile is none
    large_bodies = LargeBodies()
    started = children(os.getpid())
    for _ in range(3):
        await large_bodies.decode_request(request_of("1"))
    (reader,) = children(os.getpid()) - started
    os.kill(reader, signal.SIGINT)  # meant for the worker
    os.kill(reader, signal.SIGTERM)
    assert (await large_bodies.decode_request(request_of("1"))).model_id == "m"
    await large_bodies.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    await large_bodies.close()


LARGE = json.dumps([[number, "x"] for number in range(30_000)]).encode()


@pytest.mark.parametrize("plain", [True, False])
async def test_a_large_call(gateway: Gateway, plain: bool) -> None:
    """On both ways, the output comes as it was sent, and both sizes are recorded."""
    assert len(LARGE) > LARGE_BYTES
    sent = b'{"worklet_output": %b, "more": 1}' % LARGE
    pieces = [sent[place : place + 50_000] for place in range(0, len(sent), 50_000)]

    async def answer(_body: bytes) -> tuple[int, Pieces, dict[bytes, bytes]]:
        return 200, Pieces(pieces), {}

    gateway.script = answer
    head = b"POST /invoke HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    body = request_of("[1, 2]")
    if plain:
        reply = await gateway.raw(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    else:
        reply = await gateway.raw(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert (reply.status, reply.json["success"]) == (200, True)
    assert LARGE in reply.body
    (record,) = gateway.journal.records
    assert (record.input_size, record.output_size) == (2, 30_000)


async def test_a_reader_that_is_lost_costs_one_line(gateway: Gateway) -> None:
    """Each request that waited for it is told why, and the log has a traceback of the first."""

    async def lost(_body: object) -> None:
        raise ReaderDiedError("it is lost")

    gateway.large_bodies.decode_request = lost  # type: ignore[assignment,method-assign]
    gateway.answering.max_body_bytes = gateway.answering.bodies.limit = 2 * len(LARGE)
    with capture_logs() as logs:
        for _ in range(3):
            reply = await gateway.request("POST", "/invoke", request_of(LARGE.decode()))
            assert (reply.status, reply.json["error_log"]) == (500, "The gateway failed to answer: it is lost")
    assert [entry["event"] for entry in logs].count("gateway.failed") == 1
    assert gateway.rejected == {"defect": 3}


async def test_a_large_answer_that_is_none(gateway: Gateway) -> None:
    """What is wrong with it is the upstream's fault, and what is wrong with the reader is ours."""

    async def answer(_body: bytes) -> tuple[int, Pieces, dict[bytes, bytes]]:
        return 200, Pieces([b"[", LARGE]), {}

    gateway.script = answer
    reply = await gateway.request("POST", "/invoke", request_of("1"))
    assert (reply.status, reply.json["error_log"][:47]) == (502, "upstream's answer is not usable: Expected `obje")

    async def lost(_body: object) -> None:
        raise ReaderDiedError("lost")

    gateway.large_bodies.decode_answer = lost  # type: ignore[assignment,method-assign]
    reply = await gateway.request("POST", "/invoke", request_of("1"))
    assert reply.status == 500
    assert [each.error_type for each in gateway.journal.records] == [
        ErrorType.INVALID_RESPONSE,
        ErrorType.GATEWAY_ERROR,
    ]
    assert gateway.invoker.in_flight.total == 0


class RawPeers:
    """An upstream and a caller that take no time of the gateway's thread but what the system takes for it."""

    def __init__(self, answer: bytes) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.received = b""
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def serve(self) -> None:
        """One call, whose body is `received` then."""
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as reader, self._listener:
            length = 0
            while (line := reader.readline().lower()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.received = reader.read(length)
            connection.sendall(self._answer)
            reader.read()

    def call(self, port: int, body: bytes, path: bytes = b"/invoke", more: bytes = b"") -> bytes:
        """The whole reply."""
        with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as reader:
            head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n"
            connection.sendall(head % (path, more, len(body)))
            connection.sendall(body)
            return bytes(reader.read())


@pytest.mark.parametrize(
    ("mib", "element", "in_request"),
    [(64, b"1.2345", False), (8, b"[1, {}]", False), (8, b'"\\u00e9"', False), (16, b"1", True), (8, b"[]", True)],
)
async def test_no_turn_of_the_loop_is_long(mib: int, element: bytes, in_request: bool) -> None:
    """Whatever is in a large request or answer: it takes 10 to 15 ms, and took seconds."""
    count = (mib * MIB - 1000) // (len(element) + 1)
    array = b"[%b]" % b",".join([element] * count)
    peers = RawPeers(b'{"worklet_output": %b}' % (b"1" if in_request else array))
    async with started(Gateway(Models({"m": Model(single(peers.url), 100.0)}, None))) as gateway:
        gateway.answering.max_body_bytes = 16 * MIB
        gateway.answering.bodies.limit = 64 * MIB
        gateway.invoker._upstream = upstream = PooledUpstream(SystemClock(), 64 * MIB)
        await gateway.large_bodies.decode_request(request_of("1"))
        serving = asyncio.create_task(asyncio.to_thread(peers.serve))
        body = request_of("1") if not in_request else b'{"worklet_input": {"model_id": "m", "input": %b}}' % array
        calling = asyncio.create_task(asyncio.to_thread(peers.call, gateway.port, body))
        longest_s = await longest_turn_s(calling)
        reply = await calling
        await upstream.close()
        await serving
    assert reply.startswith(b"HTTP/1.1 200 OK")
    (record,) = gateway.journal.records
    sizes = [count, 1]
    assert [record.input_size, record.output_size] == (sizes if in_request else sizes[::-1])
    assert longest_s < HELD_UP_S


@pytest.mark.parametrize("more", [b"", b"Origin: http://page.test\r\n"], ids=["plain", "not plain"])
@pytest.mark.parametrize("stream", [b"false", b"true"])
async def test_no_turn_is_long_for_a_body_that_goes_through(more: bytes, stream: bytes) -> None:
    """One with an image, as they are common: never copied, and of it little is read, as of a large answer; also if
    usage is asked for."""
    peers = RawPeers(b'{"data": [%b0], "usage": {"prompt_tokens": 7}}' % (b"0.12345678, " * (6 * MIB // 12)))
    image = b"aGVsbG8/" * (20 * MIB // 8)
    body = b'{"image": "data:image/png;base64,%b", "model": "m", "stream": %b}' % (image, stream)
    openai = Models({"m": Model(single(f"{peers.url}v1"), 100.0)}, None)
    async with started(Gateway(Models({}, None, dialects={"openai": openai}))) as gateway:
        gateway.answering.max_body_bytes = gateway.answering.bodies.limit = 64 * MIB
        gateway.invoker._upstream = upstream = PooledUpstream(SystemClock(), 64 * MIB)
        await gateway.large_bodies.decode_asked(b'{"model": "m"}')
        serving = asyncio.create_task(asyncio.to_thread(peers.serve))
        calling = asyncio.create_task(asyncio.to_thread(peers.call, gateway.port, body, b"/v1/chat/completions", more))
        longest_s = await longest_turn_s(calling)
        assert (await calling).startswith(b"HTTP/1.1 200 OK")
        await upstream.close()
        await serving
        assert [record.input_tokens for record in gateway.journal.records] == [7]
    asking = b'"stream_options":{"include_usage":true},' if stream == b"true" else b""
    assert peers.received == body[:1] + asking + body[1:]
    assert longest_s < HELD_UP_S
