"""Sketches of latencies: near the exact quantile, additive, and read as they were written."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.api.stats import PERCENTS
from metrics_sidecar.sqlite.sketch import (
    RELATIVE_ERROR,
    UPPER_BOUNDS_US,
    Histogram,
    encode,
    merge,
    quantiles_us,
    sketch,
)
from shared.record import MAX_COUNT

latencies = st.lists(
    st.integers(0, 200) | st.integers(0, 10_000_000) | st.integers(0, MAX_COUNT), min_size=1, max_size=60
)

DISTRIBUTIONS: dict[str, Callable[[Random], int]] = {
    "lognormal": lambda random: int(random.lognormvariate(10, 0.7)),
    "exponential": lambda random: int(random.expovariate(1e-5)),
    "uniform": lambda random: random.randrange(1_000_000),
    "two peaks": lambda random: int(random.gauss(2_000, 100) if random.random() < 0.93 else random.gauss(3e7, 1e6)),
    "pareto": lambda random: int(1000 * random.paretovariate(0.8)),
    "a few microseconds": lambda random: random.randrange(40),
    "always the same": lambda _: 123_456,
}


def exact(values: list[int], percent: int) -> int:
    """The smallest value that so many of all values don't exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def is_near(found: float, wanted: int) -> bool:
    return abs(Fraction(found) - wanted) <= Fraction(RELATIVE_ERROR) * wanted + Fraction(wanted, 2**50)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [1, 2, 30, 5_000])
def test_quantiles_are_within_one_percent(name: str, count: int) -> None:
    """Of whatever values, few or many."""
    random = Random(count)
    values = [DISTRIBUTIONS[name](random) for _ in range(count)]
    found = quantiles_us(merge([sketch(values)]), PERCENTS)
    assert [(p, q) for p, q in zip(PERCENTS, found, strict=True) if not is_near(q, exact(values, p))] == []


@given(latencies, st.integers(1, 100))
def test_any_quantile_is_within_one_percent(values: list[int], percent: int) -> None:
    """From 0 to the largest latency that a record may have."""
    (found,) = quantiles_us(merge([sketch(values)]), [percent])
    assert is_near(found, exact(values, percent))


@given(st.lists(latencies, min_size=1, max_size=8))
def test_the_sketch_of_the_whole_is_that_of_its_parts(parts: list[list[int]]) -> None:
    """To the byte, so that it doesn't matter what was added up when."""
    whole = sketch([value for part in parts for value in part])
    assert encode(merge([sketch(part) for part in parts])) == whole


@pytest.mark.parametrize(("largest", "count"), [(255, 257), (255, 258), (65_535, 300), (2**32 - 1, 3)])
def test_many_are_added_up(largest: int, count: int) -> None:
    """So many that the sum of their counts needs more bytes."""
    assert merge([encode(Histogram(3, [largest, 1]))] * count) == Histogram(3, [largest * count, count])


@given(st.integers(0, 300), st.lists(st.integers(0, 2**40), max_size=50), st.integers(1, 2**60))
def test_what_is_encoded_is_read_again(first: int, counts: list[int], end: int) -> None:
    """Whatever the counts are."""
    histogram = Histogram(first, [end, *counts, end])
    assert merge([encode(histogram)]) == histogram


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 2**33)), min_size=1, max_size=6))
def test_large_counts_add_up(parts: list[tuple[int, int]]) -> None:
    """No sum of counts spills into the next bin."""
    merged = merge([encode(Histogram(first, [count] * 3)) for first, count in parts])
    assert sum(merged.counts) == sum(3 * count for _, count in parts)
    assert merged.counts[0] == sum(count for first, count in parts if first == merged.first)


def test_nothing_is_a_sketch_too() -> None:
    """It adds nothing."""
    assert sketch([]) == b""
    assert merge([]) == merge([b"", b""]) == Histogram(0, [])
    assert merge([b"", sketch([5])]) == Histogram(5, [1])


@pytest.mark.parametrize("damaged", [b"\x03\0\0aaa", b"\x02\0\0a", b"\0a"])
def test_what_is_none_is_refused(damaged: bytes) -> None:
    """It is not taken for counts."""
    with pytest.raises(ValueError, match=r"no sketch|multiple of"):
        merge([damaged])


def test_bins_cover_all_latencies() -> None:
    """Each begins right after the one before, and none is wider than the error allows."""
    assert UPPER_BOUNDS_US[0] == 0
    assert UPPER_BOUNDS_US[-1] >= MAX_COUNT > UPPER_BOUNDS_US[-2]
    wide = [high for low, high in pairwise(UPPER_BOUNDS_US) if high > low + 1 and high * 99 > (low + 1) * 101]
    assert wide == []
    assert sorted(set(UPPER_BOUNDS_US)) == [*UPPER_BOUNDS_US]


def test_size() -> None:
    """A single value takes three bytes, and a million of a usual distribution less than two kilobytes."""
    random = Random(1)
    assert len(sketch([35_567])) == 3
    assert len(sketch([int(random.lognormvariate(10, 0.7)) for _ in range(1_000_000)])) < 2_000
