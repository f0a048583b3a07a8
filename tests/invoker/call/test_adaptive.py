"""Adaptive limits, as the calls of workers find them."""

import asyncio
from collections.abc import Callable

from invoker.routing.adapting import START
from invoker.routing.endpoints import single
from invoker.routing.limits import Limit
from invoker.routing.models import Model
from shared.record import ErrorType
from tests.invoker.call.test_invocation import Domain
from tests.invoker.conftest import until
from tests.invoker.fakes import GOOD, URL, Answer, models

SECOND_US, QUARTER_US = 1_000_000, 250_000


class Adapted:
    """A model whose limit is found. Four times a second, as many calls come at once as there may be, and end at
    once."""

    def __init__(self, takes_us: Callable[[int], int], least: int = 2, most: int = 50) -> None:
        self.limit = Limit(most, adaptive=True, min_in_flight=least)
        self.answer: Answer = GOOD
        self._takes_us = takes_us
        self._gate = asyncio.Event()
        self.domain = Domain(self._answer, models(m=Model(single(URL), 60.0, limit=self.limit)))
        self.domain.clock.elapsed_us = 3 * SECOND_US

    async def _answer(self, _body: bytes) -> Answer:
        await self._gate.wait()
        return self.answer

    async def seconds(self, count: int) -> int:
        """The limit after so many."""
        for _ in range(4 * count):
            many = self.limit.most
            tasks = [self.domain.start("m") for _ in range(many)]
            await until(lambda: self.limit.in_flight == many)  # noqa: B023
            assert (await self.domain.invoke("m"))[0] == 429
            self.domain.clock.elapsed_us += self._takes_us(many)
            self._gate.set()
            await asyncio.gather(*tasks)
            self._gate.clear()
            self.domain.clock.elapsed_us = (self.domain.clock.elapsed_us // QUARTER_US + 1) * QUARTER_US
        return self.limit.most


async def test_it_grows_while_calls_take_no_longer() -> None:
    """Up to what the models file allows; it begins with ten calls."""
    adapted = Adapted(lambda _many: 20_000, most=30)
    assert adapted.limit.most == START
    assert await adapted.seconds(60) == 30
    assert adapted.domain.at_rest()


async def test_it_stays_near_what_there_is_room_for() -> None:
    """Beyond eight calls, each makes all of them take longer."""
    adapted = Adapted(lambda many: 20_000 * max(many, 8) // 8)
    await adapted.seconds(60)
    found = [await adapted.seconds(1) for _ in range(32)]
    assert sorted(found)[2] >= 8
    assert max(found) <= 14


async def test_who_refuses_has_fewer() -> None:
    """Down to the least that the file allows. Other failures say nothing of it."""
    adapted = Adapted(lambda _many: 20_000, least=9)
    adapted.answer = 503, b"", {}
    assert await adapted.seconds(20) == 9
    assert {*adapted.domain.error_types} == {ErrorType.UPSTREAM_STATUS, ErrorType.OVERLOADED}
    adapted.answer = 500, b"", {}
    assert await adapted.seconds(5) == 9


async def test_a_limit_may_be_smaller_than_it_would_begin_with() -> None:
    adapted = Adapted(lambda _many: 20_000, least=1, most=4)
    assert (adapted.limit.most, await adapted.seconds(20)) == (4, 4)
