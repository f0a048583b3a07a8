"""A limit that is found: simulated endpoints that have room for so many calls, and work so fast."""

import heapq
from random import Random

import pytest

from invoker.routing.adapting import START, Adapting, agreed, in_force, is_probing, next_limit, told, window_us

SECOND_US = 1_000_000


class Endpoint:
    """Works on so many calls at once, each for so long; further ones wait for each other. Callers always have one more
    call. Several workers find the limit together."""

    def __init__(self, capacity: int, latency_us: int, workers: int = 1, seed: int = 1) -> None:
        self.capacity, self.latency_us = capacity, latency_us
        self.now_us = SECOND_US
        self.least, self.most = 2, 200
        self.workers = [Adapting(10.0) for _ in range(workers)]
        self.told: dict[int, int] = {}
        self._die = Random(seed)
        self._free: list[int] = []
        self._ends: list[tuple[int, int, int]] = []

    @property
    def limit(self) -> float:
        return agreed([*self.told.values()]) if self.told else START

    def run(self, seconds: float) -> list[float]:
        """The limit at each second's end."""
        until_us, seen = self.now_us + round(seconds * SECOND_US), []
        second = self.now_us // SECOND_US
        while self.now_us < until_us:
            while len(self._ends) < max(in_force([*self.told.values()]) if self.told else START, 1):
                self._begin()
            self.now_us, began_us, number = heapq.heappop(self._ends)
            worker = self.workers[number]
            worker.limit = self.limit
            if worker.observe(began_us, self.now_us, len(self._ends) + 1, self.least, self.most, refused=False):
                probing = is_probing(self.now_us, worker.length_us)
                self.told[number] = told(worker.limit, probing=probing)
            if self.now_us // SECOND_US != second:
                second = self.now_us // SECOND_US
                seen.append(self.limit)
        return seen

    def _begin(self) -> None:
        while len(self._free) < self.capacity:
            heapq.heappush(self._free, self.now_us)
        while len(self._free) > self.capacity:
            heapq.heappop(self._free)
        starts_us = max(heapq.heappop(self._free), self.now_us)
        ends_us = starts_us + round(self.latency_us * self._die.uniform(0.5, 1.5))
        heapq.heappush(self._free, ends_us)
        heapq.heappush(self._ends, (ends_us, self.now_us, self._die.randrange(len(self.workers))))


def settled(seen: list[float]) -> tuple[float, float]:
    return min(seen[-60:]), max(seen[-60:])


@pytest.mark.parametrize(
    ("capacity", "latency_us", "workers"), [(8, 50_000, 1), (32, 100_000, 1), (32, 100_000, 4), (100, 400_000, 1)]
)
def test_it_finds_how_many_calls_there_is_room_for(capacity: int, latency_us: int, workers: int) -> None:
    """A little more than those, so that none of the room is left unused; and stays there."""
    least, most = settled(Endpoint(capacity, latency_us, workers).run(300))
    assert 0.9 * capacity <= least <= most <= 1.8 * capacity + 4


def test_it_follows_an_endpoint_that_has_less_room_and_more_again() -> None:
    endpoint = Endpoint(64, 100_000)
    endpoint.run(200)
    before = endpoint.limit
    endpoint.capacity = 16
    _, most = settled(endpoint.run(200))
    assert most <= 1.8 * 16 + 4
    endpoint.capacity = 64
    least, _ = settled(endpoint.run(200))
    assert least >= 0.8 * before


def test_one_that_is_slower_for_good_is_not_taken_for_full() -> None:
    """Once it was looked at with half the calls."""
    endpoint = Endpoint(32, 100_000)
    endpoint.run(200)
    endpoint.latency_us = 250_000
    least, most = settled(endpoint.run(300))
    assert 0.9 * 32 <= least <= most <= 1.8 * 32 + 4


def test_where_there_is_room_for_all_it_grows_to_its_end() -> None:
    endpoint = Endpoint(1000, 100_000)
    endpoint.run(200)
    assert endpoint.limit == endpoint.most


def test_little_traffic_says_nothing() -> None:
    """Neither does a window without enough calls."""
    adapting = Adapting(10.0)
    for second in range(1, 100):
        for call in range(20):
            now_us = second * SECOND_US + call * 10_000
            adapting.observe(now_us - 5000, now_us, 4, 2, 100, refused=False)
    assert adapting.limit == 10.0


def test_refusals_shrink_it_down_to_the_least() -> None:
    adapting = Adapting(50.0)
    for second in range(1, 60):
        for call in range(20):
            now_us = second * SECOND_US + call * 10_000
            adapting.observe(now_us - 5000, now_us, 50, 5, 100, refused=call % 5 == 0)
    assert adapting.limit == 5.0


def test_each_step_is_bounded() -> None:
    """It never goes out of its bounds, and loses a quarter at most."""
    for latency_us in (1.0, 1000.0, 1e9):
        for refused in (False, True):
            found = next_limit(40.0, 1000.0, latency_us, 2, 42, refused=refused)
            assert 30.0 <= found <= 42.0
    assert [window_us(latency) for latency in (1, 125_000, 125_001, 1e9)] == [1e6, 1e6, 2e6, 64e6]
