"""Frames on a stream: a big-endian u32 length, and that many bytes."""

import struct
from collections.abc import Iterator

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 1024 * 1024


class FrameError(Exception):
    """The peer sent bytes that are no frame of its protocol."""


def framed(*parts: bytes | memoryview) -> bytes:
    """One frame of a body in parts, length included."""
    return b"".join((LENGTH.pack(sum(map(len, parts))), *parts))


class FrameReader:
    """Cuts a byte stream into frame bodies. Holds at most one frame of `max_frame_bytes`."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that `data` completes; `FrameError` at a length of 0 or beyond the limit."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= 4:
                (length,) = LENGTH.unpack_from(buffer, start)
                if not 0 < length <= self._max_frame_bytes:
                    raise FrameError(f"frame of {length} bytes; allowed are 1 to {self._max_frame_bytes}")
                end = start + 4 + length
                if len(buffer) < end:
                    break
                body = bytes(buffer[start + 4 : end])
                start = end
                yield body
        finally:
            del buffer[:start]
