"""Timestamps as text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SystemClock, format_timestamp, parse_timestamp

MOMENT_US = 1_705_314_600_000_000  # 2024-01-15T10:30:00Z
END_OF_9999_US = 253_402_300_799_999_999


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("2024-01-15T10:30:00Z", MOMENT_US),
        ("2024-01-15T10:30Z", MOMENT_US),
        ("2024-01-15 10:30:00Z", MOMENT_US),
        ("2024-01-15t10:30:00z", MOMENT_US),
        ("2024-01-15T12:30:00+02:00", MOMENT_US),
        ("2024-01-15T12:30:00 02:00", MOMENT_US),
        ("2024-01-15T05:00:00-05:30", MOMENT_US),
        ("2024-01-15T10:30:00.5Z", MOMENT_US + 500_000),
        ("2024-01-15T10:30:00.000001Z", MOMENT_US + 1),
        ("2024-01-15T10:30:00.0000019Z", MOMENT_US + 1),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
        ("2016-12-31T23:59:60.25Z", 1_483_228_799_999_999),
        ("2016-12-31T18:59:60-05:00", 1_483_228_799_999_999),
        ("1705314600", MOMENT_US),
        ("1705314600.5", MOMENT_US + 500_000),
        ("1705314600.0000019", MOMENT_US + 1),
        ("0", 0),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("253402300799.999999", END_OF_9999_US),
    ],
)
def test_a_moment_is_read_from_rfc_3339_and_from_epoch_seconds(text: str, expected_us: int) -> None:
    """Both forms give the same microseconds; what is finer than that is cut off."""
    assert parse_timestamp(text) == expected_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "yesterday",
        "-1",
        "1e9",
        "1_000",
        "٣",
        "nan",
        "253402300800",
        "9" * 40,
        "2024-01-15",
        "2024-01-15T10:30:00",
        "2024-01-15T25:00:00Z",
        "2024-02-30T10:30:00Z",
        "2016-12-31T23:59:61Z",
        "2016-12-31T23:60:60Z",
        "2016-12-31T23:59:60",
        "20240115T103000Z",
        "2024-W03-1T10:30:00Z",
        "2024-01-15T10:30:00,5Z",
        "2024-01-15x10:30:00Z",
        "٢٠٢٤-01-15T10:30:00Z",
        "9999-12-31T23:59:59-00:01",
        "2024-01-15T10:30:00Z\n",
        "\ud800",
    ],
)
def test_anything_else_is_no_moment(text: str) -> None:
    """A missing time zone, a day that isn't and digits of other scripts are errors, not guesses."""
    with pytest.raises(ValueError):  # noqa: PT011 - the wording is datetime's own
        parse_timestamp(text)


@pytest.mark.parametrize(
    ("timestamp_us", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (MOMENT_US, "2024-01-15T10:30:00Z"),
        (MOMENT_US + 1, "2024-01-15T10:30:00.000001Z"),
        (MOMENT_US + 500_000, "2024-01-15T10:30:00.500000Z"),
        (END_OF_9999_US, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_moment_is_written_in_utc(timestamp_us: int, expected: str) -> None:
    """With a `Z`, and with microseconds only where there are any."""
    assert format_timestamp(timestamp_us) == expected


@given(st.integers(0, END_OF_9999_US))
def test_reading_is_the_inverse_of_writing(timestamp_us: int) -> None:
    """No microsecond is lost on the way through text."""
    assert parse_timestamp(format_timestamp(timestamp_us)) == timestamp_us


def test_the_machines_clock_is_in_this_century_and_monotonic() -> None:
    """The clocks are microseconds, and the second never goes back."""
    clock = SystemClock()
    first_us = clock.monotonic_us()
    assert MOMENT_US < clock.now_us() < END_OF_9999_US
    assert first_us <= clock.monotonic_us()
