"""Summaries of stretches of time, and the buckets that cover them."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.history.windows import DAY
from metrics_sidecar.sqlite.buckets import LEVELS, Row, Segment, combine, cover, to_row
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
    """Sums, extremes, errors and percentiles are those of all rows at once."""
    whole = combine([row_of([row for part in parts for row in part])])
    assert combine([row_of(part) for part in parts]) == whole
    assert to_row((0, 7), whole) == row_of([row for part in parts for row in part])


@given(rows)
def test_a_summary_is_what_a_plain_count_gives(
    invocations: list[tuple[int, int, int, int, int, int, str | None]],
) -> None:
    """Each field by its own definition."""
    summary = combine([row_of(invocations)])
    failures = [row[6] for row in invocations if row[6] is not None]
    assert (summary.count, summary.failure_count) == (len(invocations), len(failures))
    assert summary.errors == {kind: failures.count(kind) for kind in failures}
    assert summary.latency_us == min(sum(row[3] for row in invocations), MAX_COUNT)
    assert summary.added_up == (
        min(sum(row[4] for row in invocations), MAX_COUNT),
        sum(row[5] for row in invocations),
    )
    assert summary.last_timestamp_us == max(row[2] for row in invocations)
    assert (summary.min_latency_us, summary.max_latency_us) == (
        min(row[3] for row in invocations),
        max(row[3] for row in invocations),
    )
