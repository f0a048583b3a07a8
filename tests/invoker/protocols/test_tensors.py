"""How many elements tensors have, by their shapes."""

import pytest

from invoker.protocols.base import BadRequestError
from invoker.protocols.tensors import MAX_ELEMENTS, input_elements, output_elements

COUNTED = [
    (b'[{"shape": [2, 3]}]', 6),
    (b'[{"shape": [2, 3]}, {"name": "b", "shape": [1, 4], "datatype": "FP32"}]', 10),
    (b'[{"shape": []}]', 1),
    (b'[{"shape": [0, 7]}]', 0),
    (b"[]", 0),
    (b'[{"shape": [1], "data": [NaN, -Infinity,Inf ]}]', 1),
    (b'[{"shape": [1], "data": ["NaN", NaN]}]', 1),
]
UNTOLD = [
    b"null",
    b"{}",
    b'"many"',
    b"[1]",
    b"[{}]",
    b'[{"shape": 4}]',
    b'[{"shape": null}]',
    b'[{"shape": ["2"]}]',
    b'[{"shape": [1.5]}]',
    b'[{"shape": [-1, 3]}]',
    b'[{"shape": [-2, -2]}]',
    b'[{"shape": [%d, 2]}]' % MAX_ELEMENTS,
    b'[{"shape": [%b1]}]' % (b"9, " * 20_000),
    b'[{"shape": [%d]}, {"shape": [1]}]' % MAX_ELEMENTS,
    b'[{"shape": [18446744073709551616]}]',
]


@pytest.mark.parametrize(("tensors", "elements"), COUNTED)
def test_the_product_of_each_shape_is_added_up(tensors: bytes, elements: int) -> None:
    """Of a request's inputs, and of an answer's outputs."""
    assert input_elements(b'{"id": "1", "inputs": %b, "outputs": [{"shape": [99]}]}' % tensors) == elements
    assert output_elements(b'{"outputs": %b, "inputs": [{"shape": [99]}]}' % tensors) == elements


@pytest.mark.parametrize("tensors", UNTOLD)
def test_a_shape_that_is_none(tensors: bytes) -> None:
    """Is not known, and for the upstream to refuse."""
    assert input_elements(b'{"inputs": %b}' % tensors) is None
    assert output_elements(b'{"outputs": %b}' % tensors) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is empty"),
        (b'{"inputs": []}\x00\x01', "trailing"),
        (b'{"inputs": [{"shape": [1], "data": [NaN, oops]}]}', "is not valid JSON"),
        (b'{"inputs": 3, oops', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b'{"a": ' + b"[" * 100_000, "is nested too deeply"),
        (b"[1]", "is not a JSON object"),
        (b"3", "is not a JSON object"),
    ],
)
def test_what_is_no_json(text: bytes, reason: str) -> None:
    """Is refused in a request, and in an answer not known."""
    with pytest.raises(BadRequestError, match=reason) as refused:
        input_elements(text)
    assert refused.value.status == 400
    assert output_elements(text) is None


def test_neither_is_there() -> None:
    """Who has no tensors at all has none that could be counted."""
    assert input_elements(b"{}") is None
    assert output_elements(b"{}") is None
