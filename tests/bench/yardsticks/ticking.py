"""An upstream whose streams have a token at steady times: no yardstick, but what lies behind them.

`python -m tests.bench.yardsticks.ticking TOKENS_PER_SECOND`; a request's `max_tokens` says how many. Each token has the
moment in it at which it was written, which the caller compares with that of its arrival: the clock is the machine's.
"""

import asyncio
import sys
import time

import msgspec
import uvloop

from tests.bench.yardsticks.serving import announce, listen

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
MARK = b"@"
MARK_DIGITS = 19
EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{%b},"logprobs":null,"finish_reason":%b}]}\n\n'
)
FIRST = EVENT % (b'"role":"assistant","content":""', b"null")
TOKEN = EVENT % (b'"content":"@%019d"', b"null")
LAST = EVENT % (b"", b'"stop"') + b"data: [DONE]\n\n"
TOKEN_SIZE = len(TOKEN % 0)


class Asked(msgspec.Struct):
    """What is read of a request."""

    max_tokens: int


class Ticking(asyncio.Protocol):
    """One connection, whose streams come one after the other."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._request = b""
        self._due_s = 0.0
        self._left = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._request += data
        head, _, body = self._request.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length or self._transport is None:
            return
        self._request = b""
        self._left = msgspec.json.decode(body, type=Asked).max_tokens
        self._transport.write(HEAD + _chunk(FIRST))
        self._due_s = self._loop.time()
        self._wait()

    def _wait(self) -> None:
        self._due_s += self._interval_s
        self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        if self._transport is None:
            return
        if self._left:
            self._left -= 1
            self._transport.write(b"%x\r\n%b\r\n" % (TOKEN_SIZE, TOKEN % time.monotonic_ns()))
            self._wait()
        else:
            self._transport.write(_chunk(LAST) + b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def main(tokens_per_second: float) -> None:
    server = listen()
    await asyncio.get_running_loop().create_server(lambda: Ticking(1 / tokens_per_second), sock=server)
    announce(server)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1])))
