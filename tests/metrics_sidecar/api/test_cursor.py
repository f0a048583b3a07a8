"""The cursor of a history page."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.api.cursor import decode_cursor, encode_cursor
from metrics_sidecar.queries import Order, Position

numbers = st.integers(0, 2**63 - 1)
orders: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])


@given(orders, numbers, numbers)
def test_a_cursor_is_read_as_it_was_written(order: Order, timestamp_us: int, id_: int) -> None:
    """Order and position survive the way through text, which is at most 64 characters of base64url."""
    text = encode_cursor(order, Position(timestamp_us, id_))
    assert len(text) <= 64
    assert decode_cursor(text) == (order, Position(timestamp_us, id_))


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "AAAA",
        packed([2, "desc", 1, 1]),
        packed([1, "up", 1, 1]),
        packed([1, "desc", -1, 1]),
        packed([1, "desc", 1, 2**63]),
        packed([1, "desc", 1, 1, 1]),
        packed([1, "desc", 1]),
        packed([1, "desc", 1, 1]) + "=",
        packed([1, "desc", 1, 1]) + "!",
        "é",
    ],
)
def test_anything_else_is_no_cursor(text: str) -> None:
    """Another version, numbers that no row has and characters that a decoder would skip are refused."""
    with pytest.raises(ValueError, match="not a cursor"):
        decode_cursor(text)


@given(st.text(st.sampled_from("ABab01_-="), max_size=40))
def test_a_text_is_a_cursor_or_is_refused(text: str) -> None:
    """No text makes the decoder fail in another way, and each cursor has one text."""
    try:
        decoded = decode_cursor(text)
    except ValueError:
        return
    assert encode_cursor(*decoded) == text
