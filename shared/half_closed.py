"""A peer that has closed its side of a connection while its answer is awaited: does it wait, or is it gone?

Both look alike until something is sent: who is gone answers it with a reset, and the next that is sent finds that. So
what the answer goes on with whatever it is, is sent ahead, a byte now and then; who waits gets each byte of it once.
Before a head that is its beginning, the same for all answers. Before a chunk of a body, it is a zero, with any number
of which its size may begin (RFC 9112, 7.1).
"""

import asyncio
from collections.abc import Iterable

BEGINNING = b"HTTP/1."
WAITS_S = (0.02, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""From one byte to the next; after the last, only the answer itself will tell. The first is for a reset to arrive."""
BUSY_WAIT_S = 1.0
MAX_ZEROS = len(WAITS_S) + 1
CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"
END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

Data = bytes | bytearray | memoryview


class HalfClosed:
    """Stands for the transport of such a connection; all writes of answers go through here, each with whole chunks of
    a body that is chunked. `in_chunks`: the answer has begun, and is such a one."""

    def __init__(self, transport: asyncio.Transport, *, in_chunks: bool = False) -> None:
        self._transport = transport
        self._ahead = b"0" * MAX_ZEROS if in_chunks else BEGINNING
        self._sent = 0
        self._begun = in_chunks
        self._timer: asyncio.TimerHandle | None = None
        self._probe()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: Data) -> None:
        self.writelines([data])

    def writelines(self, pieces: Iterable[Data]) -> None:
        first, *rest = pieces
        in_chunks = self._begun and bool(self._ahead)
        if not self._begun:
            self._begun = True  # the first is a head, and longer than what was sent of it
            in_chunks = CHUNKED in bytes(first).partition(END_OF_HEAD)[0] + b"\r\n"
            first = first[self._sent :]
        if rest:
            self._transport.writelines([first, *rest])
        else:
            self._transport.write(first)
        self._go_on(in_chunks=in_chunks and not _end_of([first, *rest]).endswith(LAST_CHUNK))

    def _go_on(self, *, in_chunks: bool) -> None:
        """With another chunk, if one is to come."""
        if self._timer is not None:
            self._timer.cancel()
        self._ahead, self._sent = b"0" * MAX_ZEROS if in_chunks else b"", 0
        if in_chunks:
            self._wait(WAITS_S[0])

    def _probe(self) -> None:
        self._timer = None
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size():  # what it takes of that will tell
            self._wait(BUSY_WAIT_S)
            return
        self._transport.write(self._ahead[self._sent : self._sent + 1])
        self._sent += 1
        if self._sent < len(self._ahead):
            self._wait(WAITS_S[self._sent - 1])

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._probe)


def _end_of(pieces: list[Data]) -> bytes:
    """The last bytes of what is sent, as many as a last chunk has."""
    end = b""
    for piece in reversed(pieces):
        end = bytes(piece[-len(LAST_CHUNK) :]) + end
        if len(end) >= len(LAST_CHUNK):
            break
    return end
