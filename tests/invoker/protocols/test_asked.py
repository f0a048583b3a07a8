"""What is read of requests that go through as they are, and how they are refused."""

import pytest

from invoker.protocols.asked import decode_asked
from invoker.protocols.base import BadRequestError


@pytest.mark.parametrize(
    ("body", "model_id"),
    [
        (b'{"model":"m"}', "m"),
        (b' {"messages": [{"model": "no"}], "model": "org/m", "stream": true}', "org/m"),
        (b'{"x": {"model": 1, "stream": true}, "stream": null, "model": "m"}', "m"),
        (b'{"model": "m", "text": "\\u00e9", "n": 123456789012345678901234567890}', "m"),
    ],
)
def test_the_model_is_read(body: bytes, model_id: str) -> None:
    """Wherever it stands at the top, and nothing that only looks like it."""
    assert decode_asked(body).model_id == model_id


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "invalid_json"),
        (b'{"model": "m"', 400, "invalid_json"),
        (b"[]", 400, "invalid_shape"),
        (b"{}", 400, "invalid_shape"),
        (b'{"model": 1}', 400, "invalid_shape"),
        (b'{"model": ""}', 400, "invalid_shape"),
        (b'{"model": "__overflow__"}', 400, "invalid_shape"),
        (b'{"model": "a", "model": "b"}', 400, "repeated_key"),
        (b'{"model": "a", "mod\\u0065l": "b"}', 400, "repeated_key"),
        (b'{"stream": true, "model": "a", "stream": true}', 400, "repeated_key"),
        (b'{"stream": false, "model": "a", "str\\u0065am": true}', 400, "repeated_key"),
    ],
)
def test_what_is_refused(body: bytes, status: int, reason: str) -> None:
    """With the status that a client expects, and a reason."""
    with pytest.raises(BadRequestError) as caught:
        decode_asked(body)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("text", "streamed"),
    [
        ("true", True),
        (" true\n", True),
        ("false", False),
        ("null", False),
        ("1", False),
        ("1e999", False),
        ('"true"', False),
        ("[true]", False),
        ('{"stream": true}', False),
    ],
)
def test_a_stream_is_asked_for_with_true_alone(text: str, streamed: bool) -> None:
    """What else is said is for the upstream to understand or refuse."""
    body = '{"model": "m", "x": {"stream": true}, "stream":%s, "stream_options": "stream"}'
    assert decode_asked((body % text).encode()).streamed is streamed
    assert decode_asked((body % text).replace('stream":', 'str\\u0065am":').encode()).streamed is streamed


def test_without_a_word_of_it_no_stream_is_asked_for() -> None:
    """As most clients say it."""
    assert not decode_asked(b'{"model": "m"}').streamed
