"""What callers and upstreams may say, and what is made of it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocols.base import BadRequestError, InvalidAnswerError
from invoker.protocols.worklet import (
    NULL,
    InvokeAnswer,
    decode_answer,
    decode_request,
    encode_answer,
)
from shared.record import OVERFLOW_MODEL_ID
from tests.invoker.front.hostile import whole

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
model_ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=256).filter(
    lambda model_id: model_id != OVERFLOW_MODEL_ID
)


def request(input_: bytes = b"1", model_id: bytes = b'"m"') -> bytes:
    return b'{"worklet_input":{"model_id":' + model_id + b',"input":' + input_ + b"}}"


@pytest.mark.parametrize(
    ("input_", "size"),
    [
        (b"[]", 0),
        (b"[1,2,3,4,5]", 5),
        (b"[[1,2],[3]]", 2),
        (b'["\\u00e9", {"a": [1]}, null]', 3),
        (b"[1e999, -1e999, 1" + b"0" * 5000 + b"]", 3),
        (b"  [1, 2]  ", 2),
        (b'""', 0),
        (b'"abc"', 3),
        ('"é"'.encode(), 1),
        ('"😀😀"'.encode(), 2),
        (b'"\\ud83d\\ude00\\n"', 2),
        (b'"\\u0000"', 1),
        (b"null", 4),
        (b"true", 4),
        (b"  -12.50e3 ", 8),
        (b"1e999", 5),
        (b"{}", 2),
        (b'{ "a" : 1 }', 11),
        ('{"é":"😀"}'.encode(), 13),
        (b"[" * 100 + b"]" * 100, 1),
    ],
)
def test_sizes_of_inputs_and_outputs(input_: bytes, size: int) -> None:
    """Elements of an array, characters of a string, otherwise bytes of the JSON as it was written."""
    assert decode_request(request(input_)).input_size == size
    assert decode_answer(b'{"worklet_output":' + input_ + b"}")[1] == size


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf" * 2 + request(),
        request() + b"x",
        request() + request(),
        request(b"NaN"),
        request(b"[1,]"),
        request(b"01"),
        request(b"'a'"),
        request(b'"\x01"'),
        request(b'{"a":"\\q"}'),
        request(b'{"a":tru}'),
        request(b'"\xff"'),
        request(b'{"a":"\xff"}'),
        request(b'["\xed\xa0\x80"]'),
        request(b'{"\xc0\xaf":1}'),
        request(b'"\\ud800"'),
        request(b'["\\ud800 and more"]'),
        request(b'{"a":"\\udc00"}'),
        request(model_id=b'"\\ud800"'),
        request(model_id=b'"\xff"'),
        request().decode().encode("utf-16"),
        request(b"[" * 100_000 + b"]" * 100_000),
        request(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        b'{"ignored":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"ignored":"\xff","worklet_input":{"model_id":"m","input":1}}',
    ],
)
def test_what_is_no_json_is_400(body: bytes) -> None:
    """Text that is no JSON in UTF-8, wherever the fault is, or that is nested too deeply, is a bad request."""
    with pytest.raises(BadRequestError, match="JSON") as refused:
        decode_request(body)
    assert (refused.value.status, refused.value.reason) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'"text"', "Expected `object`, got `str`"),
        (b"{}", "missing required field `worklet_input`"),
        (b'{"worklet_input":[]}', "Expected `object`, got `array` - at `$.worklet_input`"),
        (b'{"worklet_input":{"model_id":"m"}}', "missing required field `input`"),
        (b'{"worklet_input":{"input":1}}', "missing required field `model_id`"),
        (request(model_id=b"1"), "Expected `str`, got `int` - at `$.worklet_input.model_id`"),
        (request(model_id=b"null"), "Expected `str`, got `null`"),
        (request(model_id=b'""'), "length >= 1"),
        (request(model_id=b'"' + b"m" * 257 + b'"'), "length <= 256"),
        (request(model_id=b'"a\\nb"'), "Expected `str` without control characters - at `$.worklet_input.model_id`"),
        (request(model_id=b'"a\\n"'), "Expected `str` without control characters - at `$.worklet_input.model_id`"),
        (request(model_id=b'"\\u0000"'), "Expected `str` without control characters - at `$.worklet_input.model_id`"),
        (request(model_id=b'"\\u0085"'), "Expected `str` without control characters - at `$.worklet_input.model_id`"),
        (request(model_id=b'"__overflow__"'), "$.worklet_input.model_id: '__overflow__' is reserved"),
    ],
)
def test_json_of_another_shape_is_422(body: bytes, said: str) -> None:
    """The refusal says what was expected, and where."""
    with pytest.raises(BadRequestError) as refused:
        decode_request(body)
    assert (refused.value.status, refused.value.reason) == (422, "invalid_shape")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("written", "model_id"),
    [
        ('"gpt-3.5"', "gpt-3.5"),
        (f'"{"m" * 256}"', "m" * 256),
        ('"\\ud83d\\ude00"', "😀"),
        ('"😀é"', "😀é"),
        ('" with / and \\" and \\\\ "', ' with / and " and \\ '),
        ('"__overflow"', "__overflow"),
    ],
)
def test_model_ids(written: str, model_id: str) -> None:
    """A model id is any text of 1 to 256 characters without control characters."""
    assert decode_request(request(model_id=written.encode())).model_id == model_id


def test_a_byte_order_mark_is_left_out() -> None:
    """Some editors write one; the upstream, which need not know it, gets the JSON alone."""
    assert decode_request(b"\xef\xbb\xbf" + request()) == decode_request(request())
    assert decode_request(b"\xef\xbb\xbf" + request()).body == request()


@given(model_ids, any_json, st.booleans(), st.booleans())
def test_any_json_reaches_the_upstream_as_it_was_written(
    model_id: str, value: Any, escaped: bool, indented: bool
) -> None:
    """The body to pass on is the caller's, byte for byte, whatever JSON is in it."""
    document = {"worklet_input": {"model_id": model_id, "input": value, "more": value}, "more": value}
    body = json.dumps(document, ensure_ascii=escaped, indent=2 if indented else None).encode()
    call = decode_request(body)
    assert (call.model_id, call.body) == (model_id, body)
    if isinstance(value, list | str):
        assert call.input_size == len(value)


@given(any_json, st.booleans())
def test_any_output_reaches_the_caller_as_it_was_written(value: Any, escaped: bool) -> None:
    """The answer holds the upstream's output byte for byte, and is JSON of the documented shape."""
    written = json.dumps(value, ensure_ascii=escaped, indent=1).encode()
    output, _ = decode_answer(b'{"ignored": 1, "worklet_output": ' + written + b"}")
    assert bytes(output) == written
    answer = whole(encode_answer(InvokeAnswer(output, True, 1.5, "")))
    assert written in answer
    assert json.loads(answer) == {"worklet_output": value, "success": True, "latency_ms": 1.5, "error_log": ""}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_failure_is_encoded_with_its_reason(reason: str) -> None:
    """`worklet_output` is null, `success` is false and `error_log` says why."""
    answer = json.loads(whole(encode_answer(InvokeAnswer(NULL, False, 0.0, reason))))
    assert answer == {"worklet_output": None, "success": False, "latency_ms": 0.0, "error_log": reason}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "^it is empty$"),
        (b" ", "^it is blank$"),
        (b'{"worklet_output":[1', "^it ends too early, after 20 bytes$"),
        (b'{"worklet_output":-Infinity}', r"^-Infinity is no JSON \(byte 18\)$"),
        (b'{"worklet_output":["\\\\\\ud83d\\ude00","\\ud83d"]}', "half of a surrogate pair"),
        (b'{"worklet_output":["\\ud83d\\ude00","\\\\ud83d', "ends too early"),
        (b"<html>", "malformed"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "missing required field `worklet_output`"),
        (b'{"worklet_output":}', "malformed"),
        (b'{"worklet_output":1}{}', "trailing characters"),
        (b'{"worklet_output":"\xff"}', "it is no UTF-8: invalid start byte"),
        (b'{"worklet_output":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_answer(body: bytes, said: str) -> None:
    """An upstream's body without a `worklet_output` in a JSON object is no answer."""
    with pytest.raises(InvalidAnswerError, match=said):
        decode_answer(body)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_understood(body: bytes) -> None:
    """No body makes the decoders raise anything but their own errors."""
    for decode in (decode_request, decode_answer):
        try:
            decode(body)
        except (BadRequestError, InvalidAnswerError):
            continue


def test_an_output_is_raw_json() -> None:
    """The output isn't decoded on its way: numbers keep all of their digits."""
    output, _ = decode_answer(b'{"worklet_output":[0.1000000000000000055511151231257827, 1E400]}')
    assert output == msgspec.Raw(b"[0.1000000000000000055511151231257827, 1E400]")
