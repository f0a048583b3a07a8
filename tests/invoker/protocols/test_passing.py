"""What is read of bodies that go through as they are, and how they are refused."""

import json
from typing import Any

import pytest

from invoker.http.heads import RequestHead
from invoker.http.pieces import Body
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.base import BadRequestError, Result
from invoker.protocols.openai import OpenAI
from invoker.protocols.passing import Passing, decode_model


class NoLargeBodies:
    async def decode_model(self, _body: Body) -> str:
        raise AssertionError

    async def decode_form(self, _body: Body, _boundary: bytes) -> str:
        raise AssertionError


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
    assert decode_model(body) == model_id


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
    ],
)
def test_what_is_refused(body: bytes, status: int, reason: str) -> None:
    """With the status that a client expects, and a reason."""
    with pytest.raises(BadRequestError) as caught:
        decode_model(body)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert str(caught.value)


@pytest.mark.parametrize("target", ["/v1/../x", "/v1/%2e%2e/x", "/v1/./x", "/v1/a%5c..%5cb", "/v1/.."])
def test_no_path_leads_out_of_the_base(target: str) -> None:
    """An upstream that resolves dots would be asked for something else."""
    head = RequestHead(target, 0, None, False, None, target=target)
    with pytest.raises(BadRequestError) as caught:
        OpenAI(NoLargeBodies()).check(head)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("dialect", "target", "expected"),
    [(OpenAI, "/v1/x/y?a=b", "/x/y?a=b"), (Anthropic, "/v1/messages?beta=true", "/v1/messages?beta=true")],
)
def test_where_it_goes(dialect: type[Passing], target: str, expected: str) -> None:
    """The path after what the upstream's base has of it, and the headers that go through."""
    fields = {b"host": b"h", b"x-api-key": b"k"}
    head = RequestHead(target, 0, None, False, None, target=target, fields=fields)
    call = dialect(NoLargeBodies()).decode(head, b'{"model": "m"}')
    assert (call.target, call.headers) == (expected, b"x-api-key: k\r\naccept-encoding: identity\r\n")


@pytest.mark.parametrize(
    ("dialect", "status", "kind"),
    [
        (OpenAI, 400, "invalid_request_error"),
        (OpenAI, 429, "rate_limit_error"),
        (OpenAI, 502, "server_error"),
        (Anthropic, 400, "invalid_request_error"),
        (Anthropic, 413, "request_too_large"),
        (Anthropic, 502, "api_error"),
    ],
)
def test_an_error_has_its_type(dialect: type[Passing], status: int, kind: str) -> None:
    """That its clients tell it apart by."""
    answer: Any = dialect(NoLargeBodies()).encode(Result(status, None, "why"))
    error = json.loads(answer)["error"]
    assert (error["type"], error["message"]) == (kind, "why")
