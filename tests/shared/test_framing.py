"""Frames on a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.framing import MAX_FRAME_BYTES, FrameError, FrameReader, framed


def bodies(data: bytes) -> list[bytes]:
    return list(FrameReader().feed(data))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_a_frame_has_all_parts_of_its_body(parts: list[bytes]) -> None:
    """In order, in one piece."""
    whole = b"".join(parts)
    frame = framed(*parts)
    assert frame == len(whole).to_bytes(4, "big") + whole
    assert not whole or bodies(frame * 2) == [whole] * 2


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_length_beyond_the_limit_is_refused_at_once(length: int) -> None:
    """The reader neither waits for nor stores a frame that is too large."""
    with pytest.raises(FrameError, match=f"frame of {length} bytes"):
        bodies(length.to_bytes(4, "big"))


@pytest.mark.parametrize("limit", [None, 1, 10])
def test_a_frame_may_be_as_long_as_the_limit(limit: int | None) -> None:
    """But no longer; and it is there with its last byte."""
    reader = FrameReader() if limit is None else FrameReader(limit)
    length = limit or MAX_FRAME_BYTES
    frame = length.to_bytes(4, "big") + b"x" * length
    assert list(reader.feed(frame[:-1])) == []
    assert list(reader.feed(frame[-1:] + frame)) == [frame[4:]] * 2
    assert list(reader.feed(b"\0\0\0")) == []
    with pytest.raises(FrameError, match=rf"frame of 0 bytes; allowed are 1 to {length}"):
        list(reader.feed(b"\0"))
    with pytest.raises(FrameError, match=f"frame of {length + 1} bytes"):
        list(FrameReader(length).feed((length + 1).to_bytes(4, "big")))
