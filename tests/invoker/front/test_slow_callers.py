"""Callers that take their streams slowly, by both servers: they aren't their upstreams' fault."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from invoker.call.ending import Ending
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from shared.record import ErrorType
from tests.invoker.conftest import Gateway, started, until
from tests.invoker.fakes import Answer, FakeExchange

BODY = b'{"model": "m", "stream": true}'
PIECE = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n' * 1000
SERVERS = pytest.mark.parametrize("more", [b"", b"Origin: http://page.test\r\n"], ids=["plain", "not plain"])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    known = Models({"m": Model(single("http://upstream.test/v1"), 60.0)}, None)
    async with started(Gateway(Models({}, None, dialects={"openai": known}))) as one:
        yield one


@SERVERS
async def test_a_caller_that_is_waited_for_too_long(
    gateway: Gateway, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the time of a call is up while its caller has yet to take what is here, the upstream isn't blamed."""
    sent = 0

    async def chunks(_self: FakeExchange) -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield PIECE
            sent += 1

    monkeypatch.setattr(FakeExchange, "chunks", chunks)

    async def script(_body: bytes) -> Answer:
        return 200, b"", {b"content-type": b"text/event-stream"}

    gateway.script = script
    _reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n%bContent-Length: %d\r\n\r\n"
    writer.write(head % (more, len(BODY)) + BODY)
    seen = [-1]
    while sent == 0 or len(seen) < 50 or len(set(seen[-50:])) > 1:  # until it waits
        seen.append(sent)
        await asyncio.sleep(0.001)
    gateway.invoker.flights.end_all(Ending.DEADLINE)
    await until(lambda: gateway.journal.records)
    writer.transport.abort()
    (record,) = gateway.journal.records
    assert record.error_type is ErrorType.CLIENT_DISCONNECTED
    assert record.error_log == "the caller had not taken its answer within 60 s"
