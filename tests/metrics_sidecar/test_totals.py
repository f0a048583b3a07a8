"""Totals of invocations, counted in one go or in parts."""

from copy import deepcopy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.totals import BUCKET_BOUNDS_S, NO_TOTALS, ModelTotals, aggregate, merged
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
