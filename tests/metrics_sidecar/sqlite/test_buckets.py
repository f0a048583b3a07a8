"""Summaries of stretches of time, and the buckets that cover them."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.history.windows import DAY
from metrics_sidecar.sqlite.buckets import (
    COLUMNS,
    LEVELS,
    OF_ERRORS,
    OF_SKETCH,
    Row,
    Segment,
    add_errors,
    combine,
    cover,
)
from metrics_sidecar.sqlite.sketch import merge
from metrics_sidecar.sqlite.summaries import summarize_rows
from shared.record import MAX_COUNT

minutes = st.integers(0, 5 * DAY)

rows = st.lists(
    st.tuples(
        st.just(0),
        st.just(7),
        st.integers(0, 59_999_999),
        st.integers(0, MAX_COUNT) | st.integers(0, 100_000),
        st.integers(0, MAX_COUNT) | st.integers(0, 9),
        st.integers(0, 9),
        st.none() | st.sampled_from(["timeout", "connect"]),
    ),
    min_size=1,
    max_size=12,
)


def row_of(invocations: list[tuple[int, int, int, int, int, int, str | None]]) -> Row:
    (row,) = summarize_rows(invocations)
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
def test_parts_make_up_the_whole(parts: list[list[tuple[int, int, int, int, int, int, str | None]]]) -> None:
    """Sums, extremes, errors and sketches are those of all rows at once."""
    assert combine((0, 7), [row_of(part) for part in parts]) == row_of([row for part in parts for row in part])


@given(rows)
def test_a_summary_is_what_a_plain_count_gives(
    invocations: list[tuple[int, int, int, int, int, int, str | None]],
) -> None:
    """Each field by its own definition."""
    row = row_of(invocations)
    failures = [each[6] for each in invocations if each[6] is not None]
    latencies_us = [each[3] for each in invocations]
    assert dict(zip(COLUMNS[:-2], row, strict=False)) == {
        "bucket": 0,
        "model": 7,
        "success_count": len(invocations) - len(failures),
        "failure_count": len(failures),
        "latency_us": min(sum(latencies_us), MAX_COUNT),
        "min_latency_us": min(latencies_us),
        "max_latency_us": max(latencies_us),
        "last_timestamp_us": max(each[2] for each in invocations),
        "input_size": min(sum(each[4] for each in invocations), MAX_COUNT),
        "output_size": sum(each[5] for each in invocations),
    }
    assert add_errors([row[OF_ERRORS]] if row[OF_ERRORS] else []) == {kind: failures.count(kind) for kind in failures}
    assert sum(merge([row[OF_SKETCH]]).counts) == len(invocations)
