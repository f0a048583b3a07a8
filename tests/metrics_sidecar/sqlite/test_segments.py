"""Which buckets are read for a stretch of time."""

from collections import Counter
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from metrics_sidecar.history.retention import Kept
from metrics_sidecar.history.rollups import DAY, HOUR, LEVELS
from metrics_sidecar.sqlite.rollups import Built, Progress

DAYS = 3


def progress(built: dict[int, int], kept_from: int = 0) -> Progress:
    how_far = {level: Built(minute) for level, minute in built.items()}
    return Progress(1, 0, 0, 0, 0, how_far, Kept(kept_from, kept_from, 0, 0))


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    """Each level is built in buckets of the smaller one, as far as that at the most; rows are kept from an hour on."""
    built: dict[int, int] = {}
    end = DAYS * DAY
    for smaller, level in pairwise(LEVELS):
        end = built[level] = draw(st.just(end) | st.integers(0, end)) // smaller * smaller
    return progress(built, draw(st.integers(0, 30)) * HOUR)


@given(progresses(), st.integers(0, 2 * HOUR), st.integers(1, DAY) | st.just(10 * DAY))
def test_each_minute_of_a_window_is_counted_once_and_no_other(progress: Progress, later: int, length: int) -> None:
    """What is added less what is subtracted; of buckets that are built, and of none before what is kept."""
    kept_from = progress.kept.minutes
    start = kept_from + later
    end = start + length
    counted: Counter[int] = Counter()
    for sign, (level, first, last) in progress.signed_segments(start, end):
        assert kept_from <= first < last
        assert first % level == 0
        # The last bucket that there is has all up to where it is built.
        assert last % level == 0 or last == progress.built_until[level]
        assert level == LEVELS[0] or last <= progress.built_until[level]
        counted.update(dict.fromkeys(range(first, last), sign))
    assert {minute: count for minute, count in counted.items() if count} == dict.fromkeys(range(start, end), 1)


@given(st.integers(0, DAYS * DAY), st.integers(0, DAYS * DAY))
def test_few_buckets_are_read_for_any_window(one: int, other: int) -> None:
    """Of each level, at each end, no more than make half a bucket of the next."""
    start, end = sorted((one, other))
    assume(start < end)
    found: Counter[int] = Counter()
    for _, (level, first, last) in progress(dict.fromkeys(LEVELS[1:], (DAYS + 1) * DAY)).signed_segments(start, end):
        found[level] += (last - first) // level
    for level, larger in pairwise(LEVELS):
        assert found[level] <= 2 * (larger // level // 2)


def test_what_is_no_longer_kept_by_minutes_is_only_added() -> None:
    """Its hours and days have no smaller buckets that could be subtracted."""
    built = progress(dict.fromkeys(LEVELS[1:], DAYS * DAY), DAY)
    segments = built.signed_segments(HOUR, 2 * DAY + 7)
    assert segments == [(1, segment) for segment in built.segments(HOUR, 2 * DAY + 7)]
    assert min(level for _, (level, start, _) in segments if start < DAY) == HOUR
