"""A peer that has closed its side of a connection while its answer is awaited: does it wait, or is it gone?

Both look alike until something is sent: who is gone answers it with a reset. So the first bytes of the answer, the same
for all answers, are sent ahead, one now and then; who waits gets each byte of it once.
"""

import asyncio
from collections.abc import Iterable

BEGINNING = b"HTTP/1."
FIRST_WAIT_S = 0.25
"""Each wait is twice as long as the one before: the last byte goes out after 16 s. Then only the answer will tell."""


class HalfClosed:
    """Stands for the transport of such a connection, on which no answer has begun; all writes go through here."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._sent = 0
        self._answered = False
        self._wait_s = FIRST_WAIT_S
        self._probe()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._answered:
            self._answered = True
            data = data[self._sent :]
        self._transport.write(data)

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        first, *rest = pieces  # the first is a head, and longer than what was sent of it
        self.write(first)
        self._transport.writelines(rest)

    def _probe(self) -> None:
        if self._answered or self._transport.is_closing() or self._sent == len(BEGINNING):
            return
        self._transport.write(BEGINNING[self._sent : self._sent + 1])
        self._sent += 1
        asyncio.get_running_loop().call_later(self._wait_s, self._probe)
        self._wait_s *= 2
