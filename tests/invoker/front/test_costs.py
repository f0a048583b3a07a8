"""What calls cost, as their records say it."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from invoker.http.pieces import Pieces
from invoker.routing.endpoints import single
from invoker.routing.models import Model, Models
from invoker.routing.prices import parse_prices
from tests.invoker.conftest import Gateway, started
from tests.invoker.fakes import GOOD, Answer

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
EVENTS = {b"content-type": b"text/event-stream"}
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"usage": {"prompt_tokens": 1000, "completion_tokens": 100}}'
EMBEDDED = b'{"usage": {"prompt_tokens": 1000}}'
COST = 1000 * 2500 + 100 * 10_000


def models(**prices: str | int) -> Models:
    table = {name: Decimal(price) for name, price in prices.items()}
    group = single("http://upstream.test/v1")
    known = Models({"m": Model(group, 60.0, prices=parse_prices(table)), "free": Model(group, 60.0)}, None)
    return Models({"m": Model(group, 60.0, prices=parse_prices({"request": Decimal("0.01")}))}, None, None,
                  {"openai": known, "anthropic": known})  # fmt: skip


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with started(Gateway(models(input="2.5", output="10"))) as one:
        yield one


async def ask(
    gateway: Gateway, answer: Answer, path: str = CHAT, body: bytes = b'{"model": "m", "stream": true}'
) -> int | None:
    """What it cost."""

    async def script(_body: bytes) -> Answer:
        return answer

    gateway.script = script
    try:
        await gateway.request("POST", path, body)
    except ValueError:  # no end of its body
        assert b"breaks-off" in answer[2]
    return gateway.journal.records[-1].cost_nano_usd


async def test_a_call_costs_what_it_took(gateway: Gateway) -> None:
    """Whole, streamed, or broken off: what was reported is what it took."""
    assert await ask(gateway, (200, WHOLE, {})) == COST
    assert await ask(gateway, (200, USAGE + DONE, EVENTS)) == COST
    assert await ask(gateway, (200, Pieces([USAGE]), EVENTS | {b"breaks-off": b"1"})) == COST
    assert [record.error_type for record in gateway.journal.records] == [None, None, "invalid_response"]


async def test_what_is_not_known_has_no_cost(gateway: Gateway) -> None:
    """Without a report, a price, or a count that has one."""
    assert await ask(gateway, (200, DONE, EVENTS)) is None
    assert await ask(gateway, (500, WHOLE, {})) is None
    assert await ask(gateway, (200, WHOLE, {}), body=b'{"model": "free"}') is None
    assert await ask(gateway, (200, EMBEDDED, {}), EMBEDDINGS) is None


async def test_another_price_changes_no_past_cost(gateway: Gateway) -> None:
    """It is of the calls that come."""
    assert await ask(gateway, (200, WHOLE, {})) == COST
    gateway.invoker.swap(models(input="0.02"))
    assert await ask(gateway, (200, EMBEDDED, {}), EMBEDDINGS) == 1000 * 20
    assert [record.cost_nano_usd for record in gateway.journal.records] == [COST, 1000 * 20]


async def test_a_request_has_a_price_by_itself(gateway: Gateway) -> None:
    """Of each success, by any protocol."""
    body = b'{"worklet_input": {"model_id": "m", "input": [1]}}'
    assert await ask(gateway, GOOD, "/invoke", body) == 10_000_000
    assert await ask(gateway, (500, b"", {}), "/invoke", body) is None
