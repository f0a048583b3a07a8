"""Bodies go on with another model's name in them, and nothing else of them changed."""

import json
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.http.heads import RequestHead
from invoker.http.pieces import Pieces
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.base import JSON, Call, Protocol
from invoker.protocols.large_bodies import LargeBodies
from invoker.protocols.naming import find_name
from invoker.protocols.openai import OpenAI
from invoker.protocols.worklet import NAME, Worklet
from tests.invoker.front.hostile import whole

BODIES = [
    '{"model": "m", "x": 1.0}',
    '{"x": [{"model": "no"}, "model"], "model"\n:\t"m" }',
    '{"model": "a\\\\\\"b", "y": "\\"model\\": \\"no\\""}',
    '{"\\u006dodel": "m", "y": {"model": "no"}}',
    '{"y": "\\u00e9", "model": "é日"}',
    '{"model": "\\u00e9", "messages": [{"content": "model"}]}',
    '{"y": {"y": {"model": "no"}}, "model": "m", "x": [[], {}, "}"]}',
]


@pytest.mark.parametrize("body", BODIES)
def test_where_the_model_stands(body: str) -> None:
    """As its key, and not as another's or in a text, however that is written."""
    encoded = body.encode()
    name = find_name(encoded, "model")
    changed = encoded[: name.begin] + b'"other"' + encoded[name.end :]
    assert json.loads(changed) == {**json.loads(body), "model": "other"}


values = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["model", '"model": "x"', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "x", "é"]), inner, max_size=3)
    ),
    max_leaves=8,
)


beside_it = st.dictionaries(st.text(max_size=3), values, max_size=3)


@given(beside_it, values, st.booleans(), st.sampled_from([None, 1]))
def test_wherever_it_stands(beside: dict[str, object], said: object, ascii_only: bool, indent: int | None) -> None:
    """Also in an object that is a member, as of the worklet protocol."""

    def chat(model_id: str) -> dict[str, object]:
        return {**beside, "model": model_id, "z": said}

    def invocation(model_id: str) -> dict[str, object]:
        return {**beside, "worklet_input": {**beside, "input": said, "model_id": model_id}}

    for keys, request in ((("model",), chat), (NAME, invocation)):
        encoded = json.dumps(request("m"), ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
        name = find_name(encoded, *keys)
        assert encoded[name.begin : name.end] == b'"m"'
        expected = json.dumps(request("other"), ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
        assert encoded[: name.begin] + b'"other"' + encoded[name.end :] == expected


@pytest.fixture
async def large_bodies() -> AsyncIterator[LargeBodies]:
    made = LargeBodies()
    yield made
    await made.close()


async def calls(protocol: Protocol, path: str, body: bytes, media_type: str = JSON) -> list[Call]:
    """The same, as small bodies and as large ones have it."""
    head = RequestHead(path, len(body), media_type, False, None)
    large = [await protocol.decode_large(head, sent) for sent in (body, Pieces([body[:3], body[3:9], body[9:]]))]
    return [protocol.decode(head, body), *large]


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n"model"\r\n'
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--b--\r\n'
)
CASES = [
    (Worklet, "/invoke", JSON, b'{"worklet_input": {"input": {"model_id": "m"}, "model_id":%b }, "x": 1e400}', True),
    (OpenAI, "/v1/chat/completions", JSON, b'{"x": 1e400, "model": %b, "y": [{"model": "m"}]}', True),
    (OpenAI, "/v1/audio/transcriptions", "multipart/form-data; boundary=b", FORM, False),
    (Anthropic, "/v1/messages", JSON, b'{"model":%b,"x":"\\u00e9"}', True),
]


@pytest.mark.parametrize(("make", "path", "media_type", "body", "quoted"), CASES)
@pytest.mark.parametrize("names", [("n",), ("a longer name", "b"), ('\u00e9"\\', "m")])
async def test_a_call_by_another_name(
    large_bodies: LargeBodies,
    make: Callable[[LargeBodies], Protocol],
    path: str,
    media_type: str,
    body: bytes,
    quoted: bool,
    names: tuple[str, ...],
) -> None:
    """In each dialect, once or again; for records, it stays what its caller said."""

    def naming(model_id: str) -> bytes:
        return body.replace(b"%b", msgspec.json.encode(model_id) if quoted else model_id.encode())

    protocol = make(large_bodies)
    for call in await calls(protocol, path, naming("m"), media_type):
        renamed = call
        for name in names:
            renamed = protocol.renamed(renamed, name)
            assert whole(renamed.body) == naming(name)
        assert (renamed.model_id, renamed.input_size) == (call.model_id, call.input_size)


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream": true, "model": "m"}',
        b'{"model": "m", "stream_options": {"include_usage": false}, "stream": true}',
        b'{"stream_options": {}, "model": "m", "stream": true}',
        b'{"stream": true, "model": "m", "stream_options": null}',
    ],
)
async def test_it_is_asked_for_usage_all_the_same(large_bodies: LargeBodies, body: bytes) -> None:
    """Both go into one body, whichever comes first in it."""
    for call in await calls(OpenAI(large_bodies), "/v1/chat/completions", body):
        assert call.asking is not None
        expected = whole(call.asking.put_into(call.body)).replace(b'"m"', b'"another"')
        renamed = OpenAI(large_bodies).renamed(call, "another")
        assert renamed.asking is not None
        assert whole(renamed.asking.put_into(renamed.body)) == expected
