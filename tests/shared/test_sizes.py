"""Sizes of inputs and outputs."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sizes import SMALL_JSON_BYTES, measure

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
raw = msgspec.json.Decoder(msgspec.Raw)


def measured(text: str) -> int:
    return measure(raw.decode(text.encode()))


@given(st.lists(values) | st.text(), st.booleans(), st.sampled_from([0, SMALL_JSON_BYTES]))
def test_arrays_and_strings_are_as_long_as_python_finds_them(value: Any, escaped: bool, padding: int) -> None:
    """Elements and characters are counted, in small JSON and in large, however it is written."""
    text = json.dumps(value, ensure_ascii=escaped)
    if isinstance(value, list):
        text = text[:-1] + " " * padding + "]"
        assert measured(text) == len(value)
    else:
        text = text[:-1] + "x" * padding + '"'
        assert measured(text) == len(value) + padding
        if text.isascii() and "\\" not in text:
            assert measure(raw.decode(text.encode()), plain=True) == len(value) + padding


@given(st.lists(values), st.integers(1, 7), st.sampled_from([",", " , ", ",\n"]))
def test_elements_are_counted_in_slices(value: list[Any], slice_bytes: int, separator: str) -> None:
    """Wherever the slices of a large array end, whatever is in its elements."""
    text = json.dumps([*value, ']},[{\\\\"', {"a": [1, 2]}], separators=(separator, ":"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.sizes.SLICE_BYTES", slice_bytes)
        patch.setattr("shared.sizes.SMALL_JSON_BYTES", 0)
        assert measured(text) == len(value) + 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("{}", 2), ('{"a": [1, 2]}', 13), ("1.50", 4), ("null", 4), ("[]", 0), ("[1e999, 2]", 2), ('""', 0)],
)
def test_what_is_neither_is_measured_in_bytes(text: str, size: int) -> None:
    """Objects, numbers and literals as they are written."""
    assert measured(text) == size


@pytest.mark.parametrize("padding", [0, SMALL_JSON_BYTES])
def test_what_can_not_be_counted_is_an_error(padding: int) -> None:
    """A string that is no text, whatever its size: half of a surrogate pair."""
    with pytest.raises(msgspec.DecodeError):
        measured('"\\ud800' + "x" * padding + '"')
