"""The text of a file in large chunks, wherever it comes from: a file or a pipe, plain or compressed with gzip.

What can't be read on ends with an `UnreadableError`, after all that could be.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import IO

PACKED_BYTES = 128 * 1024
CHUNK_BYTES = 8 * 1024 * 1024
"""Of text at once, which is some 30,000 lines and one commit: that many touch most pages of the indexes, which are
then written once for all of them."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WBITS = zlib.MAX_WBITS + 16  # with gzip's header


class UnreadableError(Exception):
    """The rest of the file can't be read; the message says why."""


def read_chunks(head: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """The text of a file of which the head is read already, which tells whether it is compressed."""
    if head.startswith(GZIP_MAGIC):
        return _gathered(_unpacked(_blocks(head, file, PACKED_BYTES)))
    return _gathered(_blocks(head, file, CHUNK_BYTES))


def _blocks(head: bytes, file: IO[bytes], size: int) -> Iterator[bytes]:
    """So many bytes at once."""
    block = head
    while block:
        yield block
        try:
            block = file.read(size)
        except OSError as error:
            raise UnreadableError(f"it can't be read: {error.strerror}") from None


def _unpacked(packed: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip has compressed, also as several files in one. (Python's own reader loses what it has read before
    the place where it can't go on.)"""
    unzip = zlib.decompressobj(GZIP_WBITS)
    for block in packed:
        left = block.lstrip(b"\0") if unzip.eof else block  # gzip allows zeros behind a file
        while left:
            if unzip.eof:
                unzip = zlib.decompressobj(GZIP_WBITS)
            try:
                yield unzip.decompress(left, CHUNK_BYTES)
            except zlib.error as error:
                raise UnreadableError(f"its compression is damaged: {error}") from None
            left = unzip.unconsumed_tail or unzip.unused_data.lstrip(b"\0")
    if not unzip.eof:
        yield unzip.flush()
        raise UnreadableError("it is cut off in the middle of its compression")


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same in as few chunks as need be; what was read before an error is one of them."""
    parts: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield b"".join(parts)
                parts.clear()
                size = 0
    except UnreadableError:
        yield b"".join(parts)
        raise
    yield b"".join(parts)
