"""Totals of invocations, counted in one go or in parts."""

from copy import deepcopy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from metrics_sidecar.ledger.totals import (
    BUCKET_BOUNDS_S,
    BUCKET_BOUNDS_US,
    NO_TOTALS,
    ModelTotals,
    aggregate,
    merged,
    without,
)
from metrics_sidecar.ledger.usage import FIRST_TOKEN_BOUNDS_S, PER_TOKEN_BOUNDS_S, QUEUE_BOUNDS_S, SPREADS, USAGE_NAMES
from shared.record import COUNTED, MAX_COUNT, METERED, ErrorType, Record

numbers = st.none() | st.none() | st.integers(0, 20_000_000) | st.integers(0, MAX_COUNT)
records = st.lists(
    st.builds(
        Record,
        model_id=st.just("m"),
        timestamp_us=st.integers(0, 2**50),
        latency_us=st.integers(0, MAX_COUNT) | st.integers(0, 10_000_000),
        error_type=st.none() | st.sampled_from(ErrorType),
        operation=st.sampled_from([None, "invoke", "chat", "messages"]),
        **dict.fromkeys((*COUNTED, "time_to_first_token_us", "time_per_output_token_us", "queue_us"), numbers),
    ),
    min_size=1,
    max_size=20,
)


@given(records)
def test_totals_are_what_a_plain_count_gives(invocations: list[Record]) -> None:
    """Each field, by its own definition."""
    latencies = [one.latency_us for one in invocations]
    failures = [one.error_type for one in invocations if one.error_type is not None]
    bounds = [-1, *(round(bound * 1_000_000) for bound in BUCKET_BOUNDS_S), MAX_COUNT]
    assert aggregate(invocations) == {
        "m": ModelTotals(
            success_count=len(invocations) - len(failures),
            failure_count=len(failures),
            latency_us=min(sum(latencies), MAX_COUNT),
            min_latency_us=min(latencies),
            max_latency_us=max(latencies),
            last_timestamp_us=max(one.timestamp_us for one in invocations),
            buckets=[sum(low < latency <= high for latency in latencies) for low, high in pairwise(bounds)],
            errors={kind: failures.count(kind) for kind in failures},
            usage=usage_of(invocations),
        )
    }


def usage_of(invocations: list[Record]) -> list[int]:
    """In the order of `USAGE_NAMES`; nothing, where there is nothing to say."""

    def values(name: str) -> list[int]:
        return [value for one in invocations if (value := getattr(one, name)) is not None]

    found = [min(sum(values(name)), MAX_COUNT) for name in COUNTED]
    missing = [one for one in invocations if one.usage_missing]
    found.append(len(missing))
    for name, bounds_s in (
        ("time_to_first_token_us", FIRST_TOKEN_BOUNDS_S),
        ("time_per_output_token_us", PER_TOKEN_BOUNDS_S),
        ("queue_us", QUEUE_BOUNDS_S),
    ):
        bounds = [-1, *(round(bound * 1_000_000) for bound in bounds_s), MAX_COUNT]
        found.append(min(sum(values(name)), MAX_COUNT))
        found += [sum(low < value <= high for value in values(name)) for low, high in pairwise(bounds)]
    names = (*COUNTED, "time_to_first_token_us", "time_per_output_token_us", "queue_us")
    metered = any(one.operation in METERED for one in invocations)
    return found if metered or any(values(name) for name in names) else []


@given(records)
def test_each_number_of_what_was_used_has_its_name(invocations: list[Record]) -> None:
    """And is 0 where there is nothing."""
    totals = aggregate(invocations)["m"]
    assert [totals.number(name) for name in USAGE_NAMES] == (totals.usage or [0] * len(USAGE_NAMES))
    for spread in SPREADS:
        count = sum(getattr(one, spread.field) is not None for one in invocations)
        assert (sum(spread.buckets(totals.usage)), spread.sum_us(totals.usage)) == (count, totals.number(spread.field))


@given(records, records)
def test_parts_together_are_the_whole(first: list[Record], second: list[Record]) -> None:
    """And neither part is changed: who holds one may go on to show it."""
    parts = aggregate(first)["m"], aggregate(second)["m"]
    before = deepcopy(parts)
    assert merged(*parts) == aggregate([*first, *second])["m"]
    assert parts == before


@given(records)
def test_nothing_adds_nothing(invocations: list[Record]) -> None:
    """Neither before nor after; a minimum of none is no minimum."""
    totals = aggregate(invocations)["m"]
    assert merged(None, totals) == merged(NO_TOTALS, totals) == merged(totals, NO_TOTALS) == totals


@given(records, records)
def test_what_is_taken_away_again_is_as_if_it_had_not_been(first: list[Record], second: list[Record]) -> None:
    """But for minimum, maximum and last timestamp, which stay; no kind of error is left with none."""
    times = ("latency_us", *COUNTED, "time_to_first_token_us", "time_per_output_token_us", "queue_us")
    small = [
        replace(one, **{name: value and value % 10**9 for name in times for value in [getattr(one, name)]})
        for one in (*first, *second)
    ]
    both, some = aggregate(small)["m"], aggregate(small[len(first) :])["m"]
    expected = aggregate(small[: len(first)])["m"]
    for name in ("min_latency_us", "max_latency_us", "last_timestamp_us"):
        setattr(expected, name, getattr(both, name))
    left = without(both, some)
    if not any(expected.usage):  # zeros, or nothing
        expected.usage = left.usage
        assert not any(left.usage)
    assert left == expected


def test_the_bounds_of_the_histogram_are_those_that_histories_were_written_with() -> None:
    """Whoever changes them changes what stored counts mean."""
    bounds_ms = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 2500, 3000, 4000, 5000, 7500, 10_000, 15_000, 20_000, 30_000)
    expected_us = tuple(bound * 1000 for bound in (*bounds_ms, 45_000, 60_000, 120_000, 300_000))
    assert expected_us == BUCKET_BOUNDS_US
    assert ModelTotals(0, 0, 0, 0, 0, 0, [0] * 23, {}, []) == NO_TOTALS
    for number, bound_us in enumerate(BUCKET_BOUNDS_US):
        counts = aggregate([Record("m", 1, bound_us), Record("m", 1, bound_us + 1)])["m"].buckets
        assert counts[number : number + 2] == [1, 1]
