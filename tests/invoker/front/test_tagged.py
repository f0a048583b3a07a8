"""Calls that their callers have tagged, by both servers and in all protocols."""

from collections.abc import AsyncIterator

import pytest

from invoker.http.pieces import LARGE_BYTES
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import URL

INVOKE = b'{"worklet_input": {"model_id": "m", "input": "%b"}}'
BODIES = {"/invoke": INVOKE % b"x", "/v1/chat/completions": b'{"model": "m"}', "/v1/messages": b'{"model": "m"}'}
PATHS = pytest.mark.parametrize("path", BODIES)
SERVERS = pytest.mark.parametrize("more", [{}, {"Origin": "http://page.test"}], ids=["plain", "not plain"])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    known = Models({"m": Model(single(URL), 60.0)}, None)
    async with started(
        Gateway(Models({"m": Model(single(URL), 60.0)}, None, dialects={"openai": known, "anthropic": known}))
    ) as one:
        one.answering.max_body_bytes = 4 * LARGE_BYTES
        yield one


@PATHS
@SERVERS
async def test_they_are_recorded_and_not_passed_on(gateway: Gateway, path: str, more: dict[str, str]) -> None:
    """By their names in lower case; the upstream has no use for them."""
    reply = await gateway.request("POST", path, BODIES[path], X_Tag_Team="search", x_tag_user_id="42", **more)
    assert reply.status == 200
    (record,) = gateway.journal.records
    assert record.tags == {"team": "search", "user-id": "42"}
    assert b"x-tag" not in gateway.upstream.headers[0].lower()


@PATHS
@SERVERS
@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({f"x_tag_{number}": "x" for number in range(9)}, "Tag '8': it is one too many"),
        ({"x_tag_a": "x" * 65}, "Tag 'a': its value must be 1 to 64 printable characters"),
        ({"x_tag_a.b": "x"}, "Tag 'a.b': its name must be"),
        ({"x_tag_": "x"}, "Tag '': its name must be"),
    ],
)
async def test_beyond_their_bounds_they_are_refused(
    gateway: Gateway, path: str, more: dict[str, str], tags: dict[str, str], said: str
) -> None:
    """By name, in the protocol's own shape; no call, and no record."""
    reply = await gateway.request("POST", path, BODIES[path], **tags, **more)
    assert reply.status == 400
    message = reply.json["error_log"] if path == "/invoke" else reply.json["error"]["message"]
    assert message.startswith(said)
    assert gateway.upstream.posts == []
    assert gateway.journal.records == []


@SERVERS
@pytest.mark.parametrize("size", [1, 2 * LARGE_BYTES])
async def test_those_of_a_body(gateway: Gateway, more: dict[str, str], size: int) -> None:
    """Beside those of headers, also where another process reads it; the body goes on as it is."""
    body = (INVOKE % (b"x" * size))[:-1] + b', "tags": {"Team": "search"}}'
    reply = await gateway.request("POST", "/invoke", body, x_tag_user="42", **more)
    assert reply.status == 200
    assert [record.tags for record in gateway.journal.records] == [{"user": "42", "team": "search"}]
    assert gateway.upstream.posts[0][1] == body
    reply = await gateway.request("POST", "/invoke", body, x_tag_team="other", **more)
    assert (reply.status, reply.json["error_log"]) == (400, "Tag 'team': it stands there twice")
