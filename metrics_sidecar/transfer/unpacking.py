"""The text of a file in large chunks, wherever it comes from: a file or a pipe, plain or compressed with gzip.

What can't be read on ends with an `UnreadableError`, after all that could be.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import IO

BLOCK_BYTES = 128 * 1024
CHUNK_BYTES = 8 * 1024 * 1024
"""Of text at once, which is some 30,000 lines and one commit: that many touch most pages of the indexes, which are
then written once for all of them."""
GZIP_WBITS = zlib.MAX_WBITS + 16  # with gzip's header


class UnreadableError(Exception):
    """The rest of the file can't be read; the message says why."""


def blocks(head: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """A file of which the head is read already."""
    block = head
    while block:
        yield block
        try:
            block = file.read(BLOCK_BYTES)
        except OSError as error:
            raise UnreadableError(f"it can't be read: {error.strerror}") from None


def unpacked(packed: Iterable[bytes]) -> Iterator[bytes]:
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


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same in as few chunks as need be; what was read before an error is one of them."""
    chunk = bytearray()
    try:
        for piece in pieces:
            chunk += piece
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
    except UnreadableError:
        yield bytes(chunk)
        raise
    yield bytes(chunk)
