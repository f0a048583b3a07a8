"""Summaries of stretches of time, and the buckets that cover them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.history.aggregate import ADDED_UP
from metrics_sidecar.history.windows import DAY
from metrics_sidecar.sqlite.buckets import (
    COLUMNS,
    LEVELS,
    OF_ERRORS,
    OF_SKETCHES,
    Row,
    Segment,
    add_errors,
    combine,
    cover,
)
from metrics_sidecar.sqlite.sketch import merge
from metrics_sidecar.sqlite.summaries import ROLLED_UP, summarize_rows
from shared.record import MAX_COUNT

minutes = st.integers(0, 5 * DAY)

some = st.none() | st.integers(0, MAX_COUNT) | st.integers(0, 9)
rows = st.lists(
    st.fixed_dictionaries(
        dict.fromkeys(ROLLED_UP, some)
        | {
            "id": st.just(0),
            "model": st.just(7),
            "timestamp_us": st.integers(0, 59_999_999),
            "latency_us": st.integers(0, MAX_COUNT) | st.integers(0, 100_000),
            "error_type": st.none() | st.sampled_from(["timeout", "connect"]),
            "usage_missing": st.sampled_from([0, 1]),
        }
    ),
    min_size=1,
    max_size=12,
)
Invocation = dict[str, Any]


def row_of(invocations: list[Invocation]) -> Row:
    (row,) = summarize_rows([tuple(each[name] for name in ROLLED_UP) for each in invocations])
    return row


@given(minutes, minutes, st.dictionaries(st.sampled_from(LEVELS[1:]), minutes.map(lambda m: m // DAY * DAY)))
def test_a_cover_is_every_minute_once(start: int, end: int, built: dict[int, int]) -> None:
    """In order, of whole buckets, each of a level that has them."""
    segments = cover(start, end, built)
    covered = [minute for segment in segments for minute in range(segment.start, segment.end)]
    assert covered == [*range(start, end)]
    assert all(s.start % s.level == s.end % s.level == 0 for s in segments)
    assert all(s.level == 1 or s.end <= built[s.level] for s in segments)


def test_a_month_is_few_buckets() -> None:
    """Large ones within, small ones at the ends."""
    segments = cover(7, 30 * DAY + 13 * 60 + 25, dict.fromkeys(LEVELS, 40 * DAY))
    assert sum((s.end - s.start) // s.level for s in segments) == 53 + 23 + 29 + 13 + 25
    assert segments[2] == Segment(DAY, DAY, 30 * DAY)


@given(st.lists(rows, min_size=1, max_size=5))
def test_parts_make_up_the_whole(parts: list[list[Invocation]]) -> None:
    """Sums, extremes, errors and sketches are those of all rows at once."""
    assert combine((0, 7), [row_of(part) for part in parts]) == row_of([row for part in parts for row in part])


@given(rows)
def test_a_summary_is_what_a_plain_count_gives(invocations: list[Invocation]) -> None:
    """Each field by its own definition."""
    row = row_of(invocations)
    failures = [each["error_type"] for each in invocations if each["error_type"] is not None]
    latencies_us = [each["latency_us"] for each in invocations]
    assert dict(zip(COLUMNS[:OF_ERRORS], row, strict=False)) == {
        "bucket": 0,
        "model": 7,
        "success_count": len(invocations) - len(failures),
        "failure_count": len(failures),
        "latency_us": min(sum(latencies_us), MAX_COUNT),
        "min_latency_us": min(latencies_us),
        "max_latency_us": max(latencies_us),
        "last_timestamp_us": max(each["timestamp_us"] for each in invocations),
        "usage_missing": sum(each["usage_missing"] for each in invocations),
        **{name: min(sum(each[name] or 0 for each in invocations), MAX_COUNT) for name in ADDED_UP},
    }
    assert add_errors([row[OF_ERRORS]] if row[OF_ERRORS] else []) == {kind: failures.count(kind) for kind in failures}
    for spread, place in OF_SKETCHES.items():
        count = sum(each[spread] is not None for each in invocations)
        assert (sum(merge([row[place]]).counts) if row[place] else None) == (count or None)
