"""Stretches of time as they are asked for."""

import pytest

from metrics_sidecar.history.windows import Window, align, parse_duration, window_before

DAY_S = 86_400
NOW_S = 1_705_314_690  # 2024-01-15T10:31:30Z


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("24h", DAY_S), ("7d", 7 * DAY_S), ("2w", 14 * DAY_S)]
)
def test_a_duration_is_a_number_and_its_unit(text: str, seconds: int) -> None:
    """In microseconds."""
    assert parse_duration(text) == seconds * 1_000_000


@pytest.mark.parametrize(
    "text", ["", "5", "m", "0m", "-5m", "5 m", "1.5h", "5M", "5m ", "٥m", "11y", "3661d", "9" * 20 + "s"]
)
def test_anything_else_is_none(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"not a duration|longer than ten years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("length", "since_s"),
    [
        ("30s", NOW_S - 30),
        ("5m", NOW_S - 330),
        ("24h", NOW_S - DAY_S - 90),
        ("7d", NOW_S - 7 * DAY_S - 31 * 60 - 30),
        ("3660d", 1_389_090_600 - 30 * 60),
    ],
)
def test_a_window_ends_now(length: str, since_s: int) -> None:
    """And begins at a minute, 10 minutes or an hour, the longer the coarser."""
    window = window_before(NOW_S * 1_000_000, parse_duration(length))
    assert window == Window(since_s * 1_000_000, NOW_S * 1_000_000)


def test_aligned_windows_are_whole_steps() -> None:
    """Those that it touches."""
    assert align(Window(119, 181), 60) == Window(60, 240)
    assert align(Window(120, 180), 60) == Window(120, 180)
