"""Which calls go first, as their callers say it, by both servers and in all protocols."""

from collections.abc import AsyncIterator

import pytest

from invoker.routing.endpoints import single
from invoker.routing.limits import Limit
from invoker.routing.models import Model, Models
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import URL
from tests.invoker.front.test_tagged import BODIES, PATHS, SERVERS


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Of whose five places four are taken."""
    limit = Limit(5, slot=0)
    model = Model(single(URL), 60.0, limit=limit)
    dialects = {name: Models({"m": model}, None) for name in ("openai", "anthropic")}
    async with started(Gateway(Models({"m": model}, None, dialects=dialects))) as one:
        assert all(limit.take() for _ in range(4))
        yield one


@PATHS
@SERVERS
@pytest.mark.parametrize(("said", "status"), [("low", 429), ("LOW", 429), ("normal", 200), ("High", 200)])
async def test_low_priority_leaves_the_last_place(
    gateway: Gateway, path: str, more: dict[str, str], said: str, status: int
) -> None:
    """It is told when to come again; and upstreams aren't told of any."""
    reply = await gateway.request("POST", path, BODIES[path], x_priority=said, **more)
    assert (reply.status, reply.headers.get("Retry-After")) == (status, "1" if status == 429 else None)
    (record,) = gateway.journal.records
    assert (record.error_type, record.attempts) == (("overloaded", 0) if status == 429 else (None, 1))
    assert not any(b"priority" in lines.lower() for lines in gateway.upstream.headers)


@PATHS
@SERVERS
@pytest.mark.parametrize("said", ["", "1", "urgent", "low, high"])
async def test_what_else_is_said_of_it_is_refused(gateway: Gateway, path: str, more: dict[str, str], said: str) -> None:
    """In the shape of its dialect; it is no call."""
    reply = await gateway.request("POST", path, BODIES[path], x_priority=said, **more)
    assert reply.status == 400
    message = reply.json["error_log"] if path == "/invoke" else reply.json["error"]["message"]
    assert message == f"x-priority: {said!r} is not 'low', 'normal' or 'high'"
    assert (gateway.upstream.posts, gateway.journal.records) == ([], [])
    assert gateway.rejected["invalid_request"] == 1
