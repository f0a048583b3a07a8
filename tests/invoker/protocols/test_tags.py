"""Tags of calls: which are taken, and how others are refused."""

import pytest

from invoker.protocols.base import BadRequestError
from invoker.protocols.tags import checked_tags
from invoker.protocols.worklet import decode_request
from shared.record import MAX_TAGS

LONG = "x" * 64


@pytest.mark.parametrize(
    ("headers", "said", "tags"),
    [
        ([], None, None),
        ([], {}, None),
        ([(b"team", b"search")], None, {"team": "search"}),
        ([(b"Team", b"S e,a=r\xc3\xa9")], None, {"team": "S e,a=r\u00e9"}),
        ([(b"a", b"1")], {"B_-0": "2"}, {"a": "1", "b_-0": "2"}),
        ([(LONG.encode(), "\u00e9".encode() * 64)], None, {LONG: "\u00e9" * 64}),
        ([], {str(number): "x" for number in range(MAX_TAGS)}, {str(number): "x" for number in range(MAX_TAGS)}),
    ],
)
def test_tags(headers: list[tuple[bytes, bytes]], said: dict[str, str] | None, tags: dict[str, str] | None) -> None:
    """Of headers and of a body, by names in lower case."""
    assert checked_tags(headers, said) == tags


@pytest.mark.parametrize(
    ("headers", "said", "message"),
    [
        ([(b"", b"x")], None, "Tag '': its name must be 1 to 64 of a-z, 0-9, _ and -"),
        ([(b"a.b", b"x")], None, "Tag 'a.b': its name"),
        ([(LONG.encode() + b"yz", b"x")], None, f"Tag '{LONG}y': its name"),
        ([], {"\u00e9": "x"}, "Tag '\u00e9': its name"),
        ([], {"a\n": "x"}, "Tag 'a\\n': its name"),
        ([(b"a", b"")], None, "Tag 'a': its value must be 1 to 64 printable characters"),
        ([(b"a", LONG.encode() + b"y")], None, "Tag 'a': its value must be 1 to 64"),
        ([], {"a": "x\ty"}, "Tag 'a': its value must be 1 to 64"),
        ([], {"a": "x\x85"}, "Tag 'a': its value must be 1 to 64"),
        ([(b"a", b"\xff")], None, "Tag 'a': its value must be in UTF-8"),
        ([(b"a", b"1")], {"A": "1"}, "Tag 'A': it stands there twice"),
        ([], {"b": "1", "B": "2"}, "Tag 'B': it stands there twice"),
        (
            [(b"a", b"x"), (b"b", b"x")],
            {str(n): "x" for n in range(7)},
            "Tag '6': it is one too many; at most 8 are taken",
        ),
    ],
)
def test_what_is_refused(headers: list[tuple[bytes, bytes]], said: dict[str, str] | None, message: str) -> None:
    """By its name."""
    with pytest.raises(BadRequestError) as caught:
        checked_tags(headers, said)
    assert caught.value.status == 400
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (b'{"A": "1"}', 0),
        (b"{}", 0),
        (b"null", 0),
        (b'{"a": 1}', 422),
        (b'["a"]', 422),
        (b'{"a": "1"}, "tags": {"a": "2"}', 422),
        (b'{"a": "1"}, "t\\u0061gs": {"a": "2"}', 422),
        (b'{"a b": "1"}', 400),
    ],
)
def test_those_of_a_body(tags: bytes, status: int) -> None:
    """They may stand there once, beside whatever the input has."""
    body = b'{"worklet_input": {"model_id": "m", "input": {"tags": [{"tags": 1}]}}, "tags": %b}' % tags
    if status:
        with pytest.raises(BadRequestError) as caught:
            decode_request(body)
        assert caught.value.status == status
    else:
        assert decode_request(body).tags == ({"a": "1"} if b"A" in tags else None)
        assert decode_request(body).body == body
