"""How long what is kept."""

from metrics_sidecar.retention import HOURS_KEPT, KEEP_ALL, Retention
from metrics_sidecar.rollups import DAY, MINUTE_US

NOW = 20_000 * DAY + 754
HOUR_US = 60 * MINUTE_US


def test_rows_are_kept_by_whole_hours() -> None:
    """None is removed before its time."""
    retention = Retention(age_us=30 * 24 * HOUR_US)
    assert retention.rows_from(NOW * MINUTE_US) == NOW - 30 * DAY - 34
    assert retention.hours_from(NOW * MINUTE_US) == 20_000 * DAY - HOURS_KEPT


def test_hours_are_kept_as_long_as_rows_at_the_least() -> None:
    """They make up what is no longer there by the minute."""
    retention = Retention(age_us=2 * HOURS_KEPT * MINUTE_US)
    assert retention.hours_from(NOW * MINUTE_US) == 20_000 * DAY - 2 * HOURS_KEPT


def test_without_a_limit_all_is_kept() -> None:
    """Whatever its age and size."""
    assert (KEEP_ALL.rows_from(NOW * MINUTE_US), KEEP_ALL.hours_from(NOW * MINUTE_US)) == (0, 0)
    assert not KEEP_ALL.is_exceeded(2**60)
    assert Retention(max_bytes=100).is_exceeded(101)
    assert not Retention(max_bytes=100).is_exceeded(100)
