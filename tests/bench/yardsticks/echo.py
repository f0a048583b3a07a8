"""An upstream that gives the input back: no yardstick, but what lies behind them where bodies are large.

It knows the bodies that the bench sends and looks for nothing else in them, so that it costs next to nothing.
"""

import asyncio

import uvloop

from tests.bench.yardsticks.serving import announce, listen

INPUT = b'"input":'
END_OF_INPUT = 2  # two closing braces
START, END = b'{"worklet_output":', b"}"


class Echo(asyncio.Protocol):
    """One connection, whose requests come one after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0
        self._body_at = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._needed:
            head_end = buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(buffer[:head_end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            if b"expect:" in head or not length:
                raise ValueError(f"the echo server expects a Content-Length: {head!r}")
            self._body_at = head_end + 4
            self._needed = self._body_at + int(length)
        if len(buffer) >= self._needed:
            self._answer()

    def _answer(self) -> None:
        assert self._transport is not None
        start = self._buffer.index(INPUT, self._body_at) + len(INPUT)
        value = bytes(memoryview(self._buffer)[start : self._needed - END_OF_INPUT])
        length = len(START) + len(value) + len(END)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        self._transport.writelines([head.encode() + START, value, END])
        self._buffer = bytearray()
        self._needed = 0


async def main() -> None:
    server = listen()
    await asyncio.get_running_loop().create_server(Echo, sock=server)
    announce(server)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
