"""What is read of requests that go through as they are, and how they are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.http.pieces import Pieces
from invoker.protocols.asked import decode_asked
from invoker.protocols.base import BadRequestError
from tests.invoker.front.hostile import whole


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


ASKED: list[tuple[str, str | None]] = [
    # asked for, and as it goes on; None: as it is
    ('{"model": "m", "stream": true, "n": 1.0}',
     '{"stream_options":{"include_usage":true},"model": "m", "stream": true, "n": 1.0}'),
    (' \n{ "stream": true, "model": "m"}',
     ' \n{"stream_options":{"include_usage":true}, "stream": true, "model": "m"}'),
    ('{"model": "m", "stream_options" : null, "stream": true}',
     '{"model": "m", "stream_options" : {"include_usage":true}, "stream": true}'),
    ('{"model": "m", "stream_options": {}, "stream": true}',
     '{"model": "m", "stream_options": {"include_usage":true}, "stream": true}'),
    ('{"model": "m", "stream_options": { }, "stream": true}',
     '{"model": "m", "stream_options": {"include_usage":true }, "stream": true}'),
    ('{"model": "m", "stream_options": { "x": 1.0 }, "stream": true}',
     '{"model": "m", "stream_options": {"include_usage":true, "x": 1.0 }, "stream": true}'),
    ('{"model": "m", "stream_options": {"x": {"include_usage": true}, "include_usage" : false}, "stream": true}',
     '{"model": "m", "stream_options": {"x": {"include_usage": true}, "include_usage" : true}, "stream": true}'),
    ('{"model": "m", "stream": true, "stream_options": {"include_usage": null, "y": [1e400]}}',
     '{"model": "m", "stream": true, "stream_options": {"include_usage": true, "y": [1e400]}}'),
    ('{"messages": [{"stream_options": {}}], "model": "m", "stream_options": null, "stream": true}',
     '{"messages": [{"stream_options": {}}], "model": "m", "stream_options": {"include_usage":true}, "stream": true}'),
    ('{"a": 1, "a": 2, "model": "m", "stream_options": {}, "stream": true}', None),
    ('{"a": 22, "a": 2, "model": "m", "stream_options": {}, "stream": true}', None),
    ('{"model": "m", "stream_options": {"include_usage": true}, "stream": true}', None),
    ('{"model": "m", "stream_options": {"include_usage": "yes"}, "stream": true}', None),
    ('{"model": "m", "stream_options": {"include_usage": false, "include_usage": false}, "stream": true}', None),
    ('{"model": "m", "stream_options": [], "stream": true}', None),
    ('{"model": "m", "stream_options": "include_usage", "stream": true}', None),
    ('{"model": "m", "stream": false}', None),
    ('{"model": "m", "stream_options": null}', None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), ASKED)
def test_a_stream_is_asked_for_its_usage(body: str, expected: str | None) -> None:
    """With what stands there already, if that is as it should be; nothing else of the body changes."""
    asking = decode_asked(body.encode()).asking
    assert (asking is None) == (expected is None)
    if asking is None or expected is None:
        return
    assert asking.put_into(body.encode()) == expected.encode()
    for cut in range(len(body)):
        pieces = Pieces([body[:cut].encode(), body[cut:].encode()])
        assert whole(asking.put_into(pieces)) == expected.encode()
    assert decode_asked(expected.encode()).asking is None


def test_an_option_that_stands_there_twice() -> None:
    """Servers differ in which of both they take."""
    with pytest.raises(BadRequestError, match="'stream_options' twice"):
        decode_asked(b'{"model": "m", "stream_options": {}, "stream": true, "stream_options": null}')


TEXTS = st.text(max_size=6) | st.sampled_from(["stream_options", "include_usage", '"', "\\", "{", "\u00e9"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SAID = [{"include_usage": False}, {"include_usage": None, "x": 1}, {"x": {"include_usage": 0}}, {"include_usage": True}]
OPTIONS = st.none() | st.dictionaries(TEXTS, VALUES, max_size=3) | st.sampled_from(SAID)


@given(
    st.dictionaries(TEXTS, VALUES, max_size=4),
    OPTIONS,
    st.integers(0, 6),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.booleans(),
)
def test_nothing_else_of_a_body_changes(
    more: dict[str, Any], options: Any, place: int, indent: int | None, ascii_only: bool, said: bool
) -> None:
    """Whatever it says, wherever it says it, and however it is written."""
    items = [each for each in more.items() if each[0] not in ("model", "stream", "stream_options")]
    asked = [("model", "m"), ("stream", True), *([("stream_options", options)] if said else [])]
    items[place:place] = asked
    body = json.dumps(dict(items), indent=indent, ensure_ascii=ascii_only).encode()
    asking = decode_asked(body).asking
    wanted = options if said and options else {}
    if "include_usage" in wanted and wanted["include_usage"] is not None and wanted["include_usage"] is not False:
        assert asking is None
        return
    assert asking is not None
    spliced = asking.put_into(body)
    assert json.loads(whole(spliced)) == {**dict(items), "stream_options": {**wanted, "include_usage": True}}
    assert body.startswith(whole(spliced)[: asking.begin])
    assert body.endswith(whole(spliced)[asking.begin + len(asking.text) :])
