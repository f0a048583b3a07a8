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
from shared.record import MAX_COUNT, ErrorType, Record

records = st.lists(
    st.builds(
        Record,
        model_id=st.just("m"),
        timestamp_us=st.integers(0, 2**50),
        latency_us=st.integers(0, MAX_COUNT) | st.integers(0, 10_000_000),
        error_type=st.none() | st.sampled_from(ErrorType),
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
        )
    }


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
    small = [replace(record, latency_us=record.latency_us % 10**9) for record in (*first, *second)]
    both, some = aggregate(small)["m"], aggregate(small[len(first) :])["m"]
    expected = aggregate(small[: len(first)])["m"]
    for name in ("min_latency_us", "max_latency_us", "last_timestamp_us"):
        setattr(expected, name, getattr(both, name))
    assert without(both, some) == expected


def test_the_bounds_of_the_histogram_are_those_that_histories_were_written_with() -> None:
    """Whoever changes them changes what stored counts mean."""
    bounds_ms = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 2500, 3000, 4000, 5000, 7500, 10_000, 15_000, 20_000, 30_000)
    expected_us = tuple(bound * 1000 for bound in (*bounds_ms, 45_000, 60_000, 120_000, 300_000))
    assert expected_us == BUCKET_BOUNDS_US
    assert ModelTotals(0, 0, 0, 0, 0, 0, [0] * 23, {}) == NO_TOTALS
    for number, bound_us in enumerate(BUCKET_BOUNDS_US):
        counts = aggregate([Record("m", 1, bound_us), Record("m", 1, bound_us + 1)])["m"].buckets
        assert counts[number : number + 2] == [1, 1]
