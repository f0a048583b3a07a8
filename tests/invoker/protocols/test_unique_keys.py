"""A body that says twice what is read of it is refused, however it hides that."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocols.base import BadRequestError
from invoker.protocols.unique_keys import MAX_COLONS, repeated_key
from invoker.protocols.worklet import decode_request

READ = ("worklet_input", "model_id", "input")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"worklet_input":{"model_id":"a","model_id":"b","input":1}}', "model_id"),
        (b'{"worklet_input":{"model_id":"a","input":1,"model_id":"a"}}', "model_id"),
        (b'{"worklet_input":{"model_id":"a","input":1,"model\\u005fid":"b"}}', "model_id"),
        (b'{"worklet_input":{"\\u006dodel_id":"a","input":1,"model_i\\u0064":"b"}}', "model_id"),
        (b'{"worklet_input":{"model_id":"a","input":1,"input":[1,2]}}', "input"),
        (b'{"worklet_input":{"model_id":"a","input":1,"input":1}}', "input"),
        (b'{"worklet_input":{"model_id":"a","input":12,"input":1}}', "input"),
        (b'{"worklet_input":{"model_id":"a","input":1,"input":12}}', "input"),
        (b'{"worklet_input":{"model_id":"a","input":{"model_id":1},"input":{"model_id":2}}}', "input"),
        (b'{"worklet_input":{"model_id":"a","input":1},"worklet_input":{"model_id":"b","input":1}}', "worklet_input"),
        (
            b'{ "worklet_input" : {"model_id":"a","input":1}\n,\t"worklet\\u005finput" : {"model_id":"b","input":1}}',
            "worklet_input",
        ),
        (b'{"worklet_input":{"model_id":"a","input":"model_id","model_id":"input"}}', "model_id"),
    ],
)
def test_what_is_read_may_not_be_said_twice(body: bytes, key: str) -> None:
    """Another reader may take the first of them: 422 names the key, escaped or not."""
    with pytest.raises(BadRequestError, match=f"The body says '{key}' twice") as refused:
        decode_request(body)
    assert (refused.value.status, refused.value.reason) == (422, "repeated_key")


@pytest.mark.parametrize(
    "body",
    [
        b'{"worklet_input":{"model_id":"a","input":{"model_id":1,"model_id":2,"input":3,"worklet_input":4}}}',
        b'{"model_id":1,"input":2,"worklet_input":{"model_id":"a","input":1,"worklet_input":3}}',
        b'{"worklet_input":{"model_id":"model_id","input":"input"},"x":"worklet_input","y":["model_id",{"input":1}]}',
        b'{"worklet_input":{"model_id":"\\u00e9","input":"\\u00e9"},"\\"model_id\\":":"\\u0022model_id\\u0022"}',
        b'{"worklet_input":{"input":" model_id\\" input\\" ","model_id":"a"} , "input" : [ ] }',
        b' {"worklet_input": {"model_id": "a" , "input" : 1 , "z":{"input":{}} } , "a":1.5e3,"b":null }\n',
    ],
)
def test_the_same_words_elsewhere_are_no_repetition(body: bytes) -> None:
    """In the input, in other objects, in strings: all that is the model's business."""
    assert decode_request(body).body == body


def test_what_would_take_long_to_tell_is_refused() -> None:
    """Among very many keys beside the input, a repeated one is not searched for; in the input it needn't be."""
    many = b",".join(b'"%d":1' % number for number in range(MAX_COLONS))
    body = b'{"worklet_input":{"model_id":"a","input":%b},"more":%b}'
    assert decode_request(body % (b'{"input":1,%b}' % many, b'"input"')).model_id == "a"
    assert decode_request(body % (b"1", b"{%b}" % many)).model_id == "a"
    with pytest.raises(BadRequestError, match="so much else that it can't be told"):
        decode_request(body % (b"1", b'{"input":1,%b}' % many))


def written(members: list[tuple[str, Any]], escaped: set[int]) -> str:
    """JSON of an object that may say a key twice, with the first letter of these members' keys escaped."""
    parts = []
    for number, (key, value) in enumerate(members):
        text = json.dumps(key)
        if number in escaped and key:
            text = re.sub('^"(.)', lambda match: f'"\\u{ord(match[1]):04x}', text)
        parts.append(f" {text} : {value if isinstance(value, Written) else json.dumps(value)} ")
    return "{" + ",".join(parts) + "}"


class Written(str):
    """JSON already."""


keys = st.sampled_from([*READ, "other", "model", "put"])
values = st.recursive(
    st.sampled_from([1, 12, "model_id", 'input"', "\\u0061", None]),
    lambda some: st.dictionaries(keys, some) | st.lists(some),
)
members = st.lists(st.tuples(keys, values), max_size=3)


@given(members, members, st.sets(st.integers(0, 6)), st.randoms(use_true_random=False))
def test_each_repetition_is_seen(outer: list[Any], inner: list[Any], escaped: set[int], chance: Any) -> None:
    """Of what is read always; never is a request refused that repeats no key."""
    inner = [("model_id", "m"), ("input", [1]), *inner]
    chance.shuffle(inner)
    outer = [*outer, ("worklet_input", Written(written(inner, escaped)))]
    chance.shuffle(outer)
    names = ([key for key, _ in outer], [key for key, _ in inner])
    read = names[0].count("worklet_input") > 1 or any(names[1].count(key) > 1 for key in ("model_id", "input"))
    any_at_all = any(len(some) > len(set(some)) for some in names)
    body = written(outer, escaped).encode()
    try:
        decode_request(body)
        refused = False
    except BadRequestError as error:
        if error.reason != "repeated_key":
            return  # the last of them has another shape
        refused = True
    assert refused or not read
    assert any_at_all or not refused


def test_a_look_at_the_keys_needs_no_repetition_of_others() -> None:
    """Of a key that isn't read, it is only told where a look was needed: what follows can't be told apart then."""
    innermost = msgspec.Raw(b"1")
    body = b'{"worklet_input":{"model_id":"a","input":1},"x":1,"x":%b}'
    assert repeated_key(body % b"2", innermost) is None
    assert repeated_key(body % b'"input"', innermost) == "'x' twice"
