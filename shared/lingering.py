"""The end of a connection whose peer may still send: what it has been told must reach it.

A socket that is closed with input unread resets the connection, and the peer's system then drops what it has received
and not read yet (RFC 9112, 9.6). So our side is closed first, and what still comes is read and dropped, for a while.
"""

import asyncio
from collections.abc import Callable
from typing import cast

LINGER_S = 5.0
"""How long a peer may take to close its side, once all is sent."""
LINGER_BYTES = 32 * 1024 * 1024
"""What is read and dropped at most: twice the largest body that is allowed by default."""
STALLED_S = 60.0
"""So long may the next piece of what is still to be sent take."""


def linger(transport: asyncio.BaseTransport, lost: Callable[[Exception | None], None]) -> bool:
    """End a connection once all that was written has gone out and its peer has closed its side, within bounds. Its
    protocol hears no more of it; `lost` is called instead of its `connection_lost`. False if it has ended already."""
    writer = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
    if writer.is_closing():
        return False
    writer.set_protocol(_Lingering(writer, lost))
    writer.write_eof()
    writer.resume_reading()
    return True


class _Lingering(asyncio.Protocol):
    def __init__(self, transport: asyncio.Transport, lost: Callable[[Exception | None], None]) -> None:
        self._transport = transport
        self._lost = lost
        self._left_bytes = LINGER_BYTES
        self._unsent_bytes = -1
        self._stalled_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LINGER_S, self._check)

    def data_received(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._lost(exc)

    def _check(self) -> None:
        unsent_bytes = self._transport.get_write_buffer_size()
        self._stalled_s = self._stalled_s + LINGER_S if unsent_bytes == self._unsent_bytes else 0.0
        self._unsent_bytes = unsent_bytes
        if not unsent_bytes or self._stalled_s >= STALLED_S:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(LINGER_S, self._check)
