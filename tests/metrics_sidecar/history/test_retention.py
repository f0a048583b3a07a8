"""How long what is kept."""

from metrics_sidecar.history.retention import KEEP_ALL, Kept, Retention
from metrics_sidecar.history.windows import DAY, DAY_US, HOUR, MINUTE_US
from metrics_sidecar.sqlite.buckets import LEVELS

NOW = 20_000 * DAY + 754
NOW_US = NOW * MINUTE_US


def test_each_is_kept_for_a_time_of_its_own() -> None:
    """Rows and minutes by whole hours, hours and days by whole days: none is removed before its time."""
    retention = Retention(rows_us=30 * DAY_US, minutes_us=60 * DAY_US, hours_us=90 * DAY_US, days_us=900 * DAY_US)
    kept = retention.kept(NOW_US)
    assert kept == Kept(NOW - 30 * DAY - 34, NOW - 60 * DAY - 34, (20_000 - 90) * DAY, (20_000 - 900) * DAY)
    assert [*kept.levels] == [*LEVELS]
    assert [kept.levels[level] for level in (1, HOUR, DAY)] == [*kept[1:]]


def test_none_is_kept_shorter_than_what_is_finer() -> None:
    """It makes up what is no longer there."""
    long = Retention(rows_us=800 * DAY_US, minutes_us=DAY_US, hours_us=400 * DAY_US, days_us=DAY_US).kept(NOW_US)
    assert (long.rows, long.minutes) == (NOW - 800 * DAY - 34,) * 2
    assert (long.hours, long.days) == ((20_000 - 800) * DAY,) * 2


def test_without_a_limit_all_is_kept() -> None:
    """Whatever its age and size."""
    assert KEEP_ALL.kept(NOW_US) == Kept()
    assert Retention(rows_us=DAY_US).kept(NOW_US).days == 0
    assert not KEEP_ALL.is_exceeded(2**60)
    assert Retention(max_bytes=100).is_exceeded(101)
    assert not Retention(max_bytes=100).is_exceeded(100)
