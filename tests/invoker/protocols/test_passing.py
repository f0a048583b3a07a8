"""What dialects make of bodies that go through as they are."""

import json
from typing import Any

import pytest

from invoker.http.heads import RequestHead
from invoker.http.pieces import Body
from invoker.protocols.anthropic import Anthropic
from invoker.protocols.asked import Asked
from invoker.protocols.base import BadRequestError, Result
from invoker.protocols.openai import OpenAI
from invoker.protocols.passing import Passing


class NoLargeBodies:
    async def decode_asked(self, _body: Body) -> Asked:
        raise AssertionError

    async def decode_form(self, _body: Body, _boundary: bytes) -> Asked:
        raise AssertionError

    async def find_report(self, _body: Body) -> bytes:
        raise AssertionError


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
