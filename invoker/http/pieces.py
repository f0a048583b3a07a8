"""Bodies that are too large to be copied into one piece while others wait."""

from collections.abc import Iterator, Sequence

LARGE_BYTES = 128 * 1024
"""From here on a body stays in pieces, and is not read on the event loop: that takes up to 60 ns a byte."""
MIN_PIECE_BYTES = 4 * 1024
"""Smaller pieces of a body are joined as they come: each one kept takes 40 bytes more than it holds."""


class Pieces:
    """What stands in its pieces, one after the other. Its length is in bytes."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._size_bytes = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._pieces)

    def part(self, begin: int, end: int) -> "Pieces":
        """From one byte up to another, without a copy."""
        found: list[bytes | memoryview] = []
        place = 0
        for piece in self._pieces:
            first, last = max(begin - place, 0), min(end - place, len(piece))
            if first < last:
                found.append(memoryview(piece)[first:last])
            place += len(piece)
        return Pieces(found)


Body = bytes | Pieces


def begin_of(body: Body, max_bytes: int) -> bytes:
    """At most so many bytes."""
    return body[:max_bytes] if isinstance(body, bytes) else b"".join(body.part(0, max_bytes))


def whole(body: Body) -> bytes:
    """In one piece; of a large one, a copy."""
    return body if isinstance(body, bytes) else b"".join(body)


def add_piece(pieces: list[bytes], piece: bytes) -> None:
    """As the next one, unless the last is small."""
    if pieces and len(pieces[-1]) < MIN_PIECE_BYTES:
        pieces[-1] += piece
    elif piece:
        pieces.append(piece)


def joined(pieces: list[bytes]) -> Body:
    """One piece, if that isn't large."""
    if len(pieces) == 1:
        return pieces[0]
    if len(pieces) > 1 and sum(map(len, pieces)) > LARGE_BYTES:
        return Pieces(pieces)
    return b"".join(pieces)
