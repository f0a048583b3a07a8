"""What calls cost."""

import re
import tomllib
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocols.base import Usage
from invoker.protocols.usage import MAX_TOKENS
from invoker.routing.prices import MAX_USD, Prices, cost_nano_usd, parse_prices
from shared.record import MAX_COUNT


def priced(text: str) -> Prices:
    """As a models file says it."""
    table: Any = tomllib.loads(f"prices = {{ {text} }}", parse_float=Decimal)["prices"]
    return parse_prices(table)


ALL = "input = 2.5, cached_input = 1.25, output = 10, reasoning = 12, request = 0.01"


@pytest.mark.parametrize(
    ("prices", "usage", "nano_usd"),
    [
        # Parts are counted once, at their own prices; others at their whole's.
        (ALL, Usage(1000, 400, 100, 60), 600 * 2500 + 400 * 1250 + 40 * 10_000 + 60 * 12_000 + 10_000_000),
        (ALL, Usage(1000, None, 100, None), 1000 * 2500 + 100 * 10_000 + 10_000_000),
        ("input = 2.5, output = 10", Usage(1000, 400, 100, 60), 1000 * 2500 + 100 * 10_000),
        ("input = 2.5, cached_input = 0", Usage(1000, 400, 100), 600 * 2500),
        # What is priced must be known; the rest needn't.
        ("input = 0.02", Usage(7), 140),
        ("input = 0.02, output = 10", Usage(7), None),
        ("input = 0.02, output = 0", Usage(7), 140),
        ("input = 0, cached_input = 1", Usage(7, 3), 3000),
        ("input = 0.02, request = 1", Usage(None, None, 7), None),
        ("output = 0.02, request = 1", Usage(None, None, 7), 1_000_000_140),
        (ALL, None, None),
        ("request = 0.01", None, 10_000_000),
        ("request = 0.01", Usage(7), 10_000_000),
        ("input = 0, output = 0.0", None, 0),
        # Rounded once, half up.
        ("input = 0.0005", Usage(1), 1),
        ("input = 0.000499", Usage(1), 0),
        ("input = 0.000499", Usage(3), 1),
        ("input = 0.0004, output = 0.0001", Usage(1, None, 1), 1),
        ("input = 0.000000000001", Usage(MAX_TOKENS), 1),
        ("input = 0.10", Usage(3), 300),
        ("request = 0.000000000499", None, 0),
        ("request = 0.0000000005", None, 1),
        ("input = 1_000.5", Usage(2), 2_001_000),
        ("input = 1e-3", Usage(1), 1),
        ("input = 2.50000000000000000", Usage(2), 5000),
    ],
)
def test_a_call_that_succeeded(prices: str, usage: Usage | None, nano_usd: int | None) -> None:
    """By what it took, and by itself."""
    assert cost_nano_usd(priced(prices), usage, success=True) == nano_usd


def test_a_call_that_failed() -> None:
    """Costs what it reports; and without a report, that isn't known."""
    assert cost_nano_usd(priced(ALL), Usage(4, 0, 1, 0), success=False) == 4 * 2500 + 10_000 + 10_000_000
    assert cost_nano_usd(priced(ALL), None, success=False) is None
    assert cost_nano_usd(priced("request = 0.01"), None, success=False) is None


def test_a_cost_has_room_in_a_record() -> None:
    """However dear and long."""
    dear = priced(f"input = {MAX_USD}, output = {MAX_USD}, request = {MAX_USD}")
    cost = cost_nano_usd(dear, Usage(3 * MAX_TOKENS, 0, MAX_TOKENS, 0), success=True)
    assert cost is not None
    assert 4 * 10**18 < cost <= MAX_COUNT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "prices: is empty; there are input, cached_input, output, reasoning, request"),
        (
            "inputs = 2.5",
            "prices.inputs: there is no such field; there are input, cached_input, output, reasoning, request",
        ),
        ("cached_input = 1, output = 2", "prices.cached_input: needs prices.input, of which it is a part"),
        ("reasoning = 1, input = 2", "prices.reasoning: needs prices.output, of which it is a part"),
        ("output = -1", "prices.output: -1 is no"),
        ("output = -0.001", "prices.output: -0.001 is no"),
        ("output = '2.5'", "prices.output: '2.5' is no"),
        ("request = true", "prices.request: True is no"),
        ("input = [1]", "prices.input: [1] is no"),
        ("input = 1000000.01", "prices.input: 1000000.01 is no"),
        ("input = 1000001", "prices.input: 1000001 is no"),
        ("input = 0.0000000000001", "prices.input: 1E-13 is no"),
        ("input = 0.5000000000000000000000000000000000000001", "is no number of US dollars from 0 to 1000000 with at"),
        ("input = 1e-999999", "is no number of US dollars from 0 to 1000000 with at most 12 decimals"),
        ("input = nan", "prices.input: NaN is no"),
        ("input = -nan", "is no"),
        ("input = inf", "prices.input: Infinity is no"),
        ("input = 1e400", "prices.input: 1E+400 is no"),
        ("request = -1, x = 1", "prices.request: -1 is no number of US dollars from 0 to 1000000 with at most 12 deci"),
        ("request = -1, x = 1", "; prices.x: there is no such field"),
    ],
)
def test_prices_that_are_none(text: str, said: str) -> None:
    """The field, its value and what is allowed."""
    with pytest.raises(ValueError, match=re.escape(said)):
        priced(text)


@pytest.mark.parametrize("text", ["0", "0.0", "-0.0", "0e400", "0e-400"])
def test_nothing_is_a_price(text: str) -> None:
    """However it is written."""
    assert priced(f"input = {text}") == Prices()


PRICE = st.decimals(0, 1000, places=12).map(lambda price: price.quantize(Decimal("1e-12")))
COUNT = st.integers(0, MAX_TOKENS)


@given(PRICE, PRICE, PRICE, PRICE, PRICE, COUNT, COUNT, COUNT, COUNT)
def test_exactly(
    given_: Decimal,
    cached: Decimal,
    output: Decimal,
    reasoning: Decimal,
    request: Decimal,
    a: int,
    b: int,
    c: int,
    d: int,
) -> None:
    """As decimals without end would have it."""
    prices = parse_prices(
        {"input": given_, "cached_input": cached, "output": output, "reasoning": reasoning, "request": request}
    )
    usage = Usage(a + b, b, c + d, d)
    with localcontext() as context:
        context.prec = 60
        usd = (a * given_ + b * cached + c * output + d * reasoning) / 1_000_000 + request
        expected = int((usd * 10**9).quantize(Decimal(1), ROUND_HALF_UP))
    needed = any((given_, cached)), any((output, reasoning))
    assert cost_nano_usd(prices, usage, success=True) == expected
    without = Usage(None if needed[0] else 0, None, None if needed[1] else 0)
    assert (cost_nano_usd(prices, without, success=True) is None) == any(needed)
