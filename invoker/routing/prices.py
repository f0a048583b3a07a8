"""What calls of a model cost: prices are read exactly, as they are written, and a call is rounded once."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from invoker.protocols.base import Usage

MAX_USD = 1_000_000
MAX_DECIMALS = 12
_ALLOWED = f"US dollars from 0 to {MAX_USD} with at most {MAX_DECIMALS} decimals"
_PER_NANO = 10**9
_PER_MILLIONTH = 10**6
_WHOLE = {"cached_input": "input", "reasoning": "output"}
"""What is priced as a part of something has that one's price if it has none of its own."""


class Prices(msgspec.Struct, frozen=True):
    """Of a token, or of a request, in 10⁻¹⁸ US dollars: an integer of every price of 12 decimals per million tokens."""

    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning: int = 0
    request: int = 0


class PricesError(ValueError):
    """All that is wrong with prices, by their names; of an empty one all of them together."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"prices{name and f'.{name}'}: {text}" for name, text in problems.items()))
        self.problems = problems


def parse_prices(table: Mapping[str, object]) -> Prices:
    """Of a table with US dollars per million tokens, and per request."""
    names = Prices.__struct_fields__
    if not table:
        raise PricesError({"": f"is empty; there are {', '.join(names)}"})
    problems, scaled = dict[str, str](), dict[str, int]()
    for name, value in table.items():
        if name not in names:
            problems[name] = f"there is no such field; there are {', '.join(names)}"
        elif (number := _scaled(value)) is None:
            problems[name] = f"{_shown(value)} is no number of {_ALLOWED}"
        else:
            scaled[name] = number
    for part, whole in _WHOLE.items():
        if part in table and whole not in table:
            problems.setdefault(part, f"needs prices.{whole}, of which it is a part")
        if whole in scaled:
            scaled.setdefault(part, scaled[whole])
    if problems:
        raise PricesError(problems)
    scaled["request"] = scaled.get("request", 0) * _PER_MILLIONTH
    return Prices(**scaled)


def with_floats(table: object) -> object:
    """What was read with decimals, of which only those of prices stay."""
    if isinstance(table, dict):
        kept = table["prices"] if isinstance(table.get("prices"), dict) else None
        return {name: value if value is kept else with_floats(value) for name, value in table.items()}
    if isinstance(table, list):
        return [*map(with_floats, table)]
    return float(table) if isinstance(table, Decimal) else table


def cost_nano_usd(prices: Prices, usage: Usage | None, *, success: bool) -> int | None:
    """Of one call, rounded half up; None if a count isn't known that has a price. What cached input or reasoning was is
    not told always: it is none then. A failure costs what it reports, and else nothing that is known."""
    if usage is None and not success:
        return None
    counts = usage or Usage()
    total = prices.request
    for price, part_price, count, part in (
        (prices.input, prices.cached_input, counts.input_tokens, counts.cached_input_tokens or 0),
        (prices.output, prices.reasoning, counts.output_tokens, counts.reasoning_tokens or 0),
    ):
        if not price and not part_price:
            continue
        if count is None:
            return None
        total += (count - part) * price + part * part_price
    return (total + _PER_NANO // 2) // _PER_NANO


def _scaled(value: object) -> int | None:
    """In units of the last decimal that is allowed."""
    exact = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(exact, Decimal) and exact.is_finite() and 0 <= exact <= MAX_USD:
        _, digits, exponent = exact.as_tuple()
        assert isinstance(exponent, int)  # it is finite
        number = int("".join(map(str, digits)))
        while exponent < -MAX_DECIMALS and number % 10 == 0 and number:
            number, exponent = number // 10, exponent + 1
        if number == 0:
            return 0
        if exponent >= -MAX_DECIMALS:
            return int(number * 10 ** (exponent + MAX_DECIMALS))
    return None


def _shown(value: object) -> str:
    return f"{value if isinstance(value, Decimal) else repr(value)!s}"[:80]
