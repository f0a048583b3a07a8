"""The cursor of a history page."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.api.cursor import Cursor, decode_cursor, encode_cursor, fingerprint
from metrics_sidecar.history.queries import HistoryFilter, Order, Position, Term

numbers = st.integers(0, 2**63 - 1)
orders: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])


FINGERPRINT = fingerprint(HistoryFilter())


@given(orders, st.binary(min_size=8, max_size=8), numbers, numbers)
def test_a_cursor_is_read_as_it_was_written(order: Order, filter_: bytes, timestamp_us: int, id_: int) -> None:
    """Order, filter and position survive the way through text, which is at most 64 characters of base64url."""
    cursor = Cursor(order, filter_, Position(timestamp_us, str(id_)))
    text = encode_cursor(cursor)
    assert len(text) <= 64
    assert decode_cursor(text) == cursor


def test_filters_have_fingerprints_of_their_own() -> None:
    """Equal filters the same, others not, whichever field they differ in."""
    filters = [
        HistoryFilter(),
        HistoryFilter(models=("a",)),
        HistoryFilter(prefixes=("a",)),
        HistoryFilter(status="success"),
        HistoryFilter(since_us=1),
        HistoryFilter(until_us=1),
        HistoryFilter(terms=(Term("latency_us", "least", 1),)),
        HistoryFilter(terms=(Term("latency_us", "most", 1),)),
        HistoryFilter(terms=(Term("error_log", "contains", "a"),)),
    ]
    assert len({fingerprint(one) for one in filters}) == len(filters)
    assert fingerprint(HistoryFilter(models=("a",))) == fingerprint(filters[1])


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "AAAA",
        packed([1, "desc", FINGERPRINT, 1, 1]),
        packed([2, "up", FINGERPRINT, 1, 1]),
        packed([2, "desc", FINGERPRINT, -1, 1]),
        packed([2, "desc", FINGERPRINT, 1, 2**63]),
        packed([2, "desc", FINGERPRINT, 1, 1, 1]),
        packed([2, "desc", FINGERPRINT, 1]),
        packed([2, "desc", FINGERPRINT, 1, 1]) + "=",
        packed([2, "desc", FINGERPRINT, 1, 1]) + "!",
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
    assert encode_cursor(decoded) == text
