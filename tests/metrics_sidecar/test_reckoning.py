"""Which time is believed, with clocks that are moved by hand."""

from collections.abc import Callable

import pytest

from metrics_sidecar.reckoning import AHEAD, BACK, TOLERANCE_US, Reckoning, TimeState
from metrics_sidecar.windows import DAY_US
from shared.record import MAX_TIMESTAMP_US

HOUR_US = DAY_US // 24
NOW_US = 20_000 * DAY_US
FAR = [60 * DAY_US, -60 * DAY_US, 2 * TOLERANCE_US, MAX_TIMESTAMP_US - NOW_US, -NOW_US]


class FakeClock:
    """Both clocks, which tests move."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.wall_us, self.running_us = now_us, 7

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_us(self) -> int:
        return self.running_us


class Sidecar:
    """A reckoning through restarts. Its gateways' clocks are right unless `gateway_us` says how far off they are."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.clock = FakeClock(now_us)
        self.true_us = NOW_US
        self.reckoning = Reckoning(TimeState(), self.clock)

    def set_clock(self, off_us: int) -> None:
        """So far off the truth."""
        self.clock.wall_us = min(max(self.true_us + off_us, 0), MAX_TIMESTAMP_US)

    def run(self, duration_us: int, record_us: Callable[[int], int] | None = lambda true_us: true_us) -> None:
        """Time goes on; with a record now and then."""
        while duration_us > 0:
            step_us = min(duration_us, HOUR_US)
            duration_us -= step_us
            self.true_us += step_us
            self.clock.wall_us = min(self.clock.wall_us + step_us, MAX_TIMESTAMP_US)
            self.clock.running_us += step_us
            self.reckoning.look()
            if record_us is not None:
                self.reckoning.recorded(record_us(self.true_us))

    def restart(self, off_for_us: int = 0) -> None:
        """With another monotonic clock."""
        self.true_us += off_for_us
        self.clock.wall_us = min(self.clock.wall_us + off_for_us, MAX_TIMESTAMP_US)
        self.clock.running_us = 3
        self.reckoning = Reckoning(self.reckoning.copy(), self.clock)

    @property
    def error_us(self) -> int:
        """How far what is removed would be ahead of the truth."""
        return self.reckoning.aged_us - self.true_us

    @property
    def concern(self) -> str:
        return self.reckoning.concern or ""


@pytest.fixture
def sidecar() -> Sidecar:
    """One that has run for a while with a clock that is right."""
    sidecar = Sidecar()
    sidecar.reckoning.recorded(NOW_US)
    sidecar.run(3 * DAY_US)
    assert sidecar.error_us == 0
    assert not sidecar.concern
    return sidecar


@pytest.mark.parametrize("off_us", FAR)
def test_a_clock_that_is_wrong_for_a_while_removes_nothing_and_is_told(sidecar: Sidecar, off_us: int) -> None:
    """It is counted once, it is a concern while it lasts, and soon all is as before."""
    sidecar.set_clock(off_us)
    sidecar.run(3_000_000)
    assert sidecar.error_us <= 0
    assert sidecar.reckoning.reckoned_us == sidecar.true_us
    direction = AHEAD if off_us > 0 else BACK
    assert sidecar.reckoning.jump_counts == {AHEAD: 0, BACK: 0, direction: 1}
    assert sidecar.concern
    sidecar.run(3_000_000)
    assert sum(sidecar.reckoning.jump_counts.values()) == 1
    sidecar.set_clock(0)
    sidecar.run(1)
    assert not sidecar.concern
    assert sum(sidecar.reckoning.jump_counts.values()) == 1
    sidecar.run(3 * DAY_US)
    assert sidecar.error_us == 0


@pytest.mark.parametrize("off_us", FAR)
def test_a_clock_that_is_wrong_at_the_start_removes_nothing(sidecar: Sidecar, off_us: int) -> None:
    """In a restart loop, either, however often it is wrong; all of a day after that it is right."""
    for _ in range(50):
        sidecar.set_clock(off_us)
        sidecar.restart()
        sidecar.run(10_000_000)
        assert sidecar.error_us <= 0
        sidecar.set_clock(0)
        sidecar.restart()
        sidecar.run(10_000_000)
        assert sidecar.error_us <= 0
    sidecar.run(3 * DAY_US)
    assert sidecar.error_us == 0
    assert not sidecar.concern


@pytest.mark.parametrize("records", [True, False])
def test_a_sidecar_that_was_off_catches_up_after_a_day_of_running(sidecar: Sidecar, records: bool) -> None:
    """At the latest after two, with calls or without, and also where it is restarted again and again."""
    sidecar.restart(off_for_us=60 * DAY_US)
    assert sidecar.concern
    assert sidecar.reckoning.latest_us == sidecar.true_us + DAY_US
    for _ in range(4 * 24 * 2):
        assert sidecar.error_us <= -60 * DAY_US or sidecar.error_us == 0
        sidecar.run(HOUR_US // 4, (lambda true_us: true_us) if records else None)
        sidecar.restart()
    assert sidecar.error_us == 0
    assert not sidecar.concern


def test_it_is_not_off_by_more_than_two_days_where_it_runs_by_day(sidecar: Sidecar) -> None:
    """Eight hours of each day, for ever."""
    for _ in range(100):
        sidecar.run(8 * HOUR_US)
        sidecar.restart(off_for_us=16 * HOUR_US)
        assert -5 * DAY_US < sidecar.error_us <= 0


def test_a_clock_that_is_ahead_from_the_first_start_is_not_believed_against_the_records() -> None:
    """However long: the gateways know better; nor does a jump back and forth change it."""
    sidecar = Sidecar(NOW_US + 400 * DAY_US)
    sidecar.run(5 * DAY_US)
    assert sidecar.error_us <= HOUR_US
    for off_us in (0, 400 * DAY_US):
        sidecar.set_clock(off_us)
        sidecar.run(3_000_000)
        assert sidecar.error_us <= HOUR_US


def test_before_the_first_record_nothing_is_old() -> None:
    """There is nothing to remove, and nothing to say which time it is."""
    sidecar = Sidecar()
    sidecar.run(3 * DAY_US, None)
    assert (sidecar.reckoning.aged_us, sidecar.reckoning.concern) == (0, None)


def test_a_history_of_an_older_release_begins_with_its_last_rows() -> None:
    """Not with a clock that is ahead, nor with rows that are."""
    clock = FakeClock(NOW_US + 60 * DAY_US)
    assert Reckoning(TimeState(), clock, NOW_US).aged_us == NOW_US
    assert Reckoning(TimeState(), FakeClock(), NOW_US + DAY_US).aged_us == NOW_US


def test_a_clock_that_is_behind_lets_records_keep_their_times(sidecar: Sidecar) -> None:
    """They are a day ahead of what was known before, at the most."""
    sidecar.set_clock(-2 * DAY_US)
    sidecar.run(10_000_000)
    assert sidecar.reckoning.latest_us == sidecar.true_us + DAY_US
    assert sidecar.reckoning.arrival_us == sidecar.true_us
    sidecar.restart()
    assert sidecar.reckoning.latest_us == sidecar.true_us + DAY_US


def test_a_stop_of_the_process_is_no_running_time(sidecar: Sidecar) -> None:
    """A month in which it was frozen, or in which the monotonic clock went wrong, ages no account."""
    running_us = sidecar.reckoning.running_us
    sidecar.clock.running_us += 30 * DAY_US
    sidecar.clock.wall_us += 30 * DAY_US
    sidecar.reckoning.look()
    assert sidecar.reckoning.running_us == running_us + HOUR_US
    assert sidecar.reckoning.aged_us <= sidecar.true_us + HOUR_US


@pytest.mark.parametrize(("step_us", "jumps"), [(TOLERANCE_US, 0), (TOLERANCE_US + 1, 1)])
def test_a_clock_that_is_set_by_a_minute_is_not_told_of(sidecar: Sidecar, step_us: int, jumps: int) -> None:
    """By more, it is."""
    sidecar.set_clock(step_us)
    sidecar.run(1)
    assert sidecar.reckoning.jump_counts[AHEAD] == jumps


def test_the_bounds_of_the_day_in_which_a_clock_must_be_ahead(sidecar: Sidecar) -> None:
    """Right at its end it is not believed yet; and not if it was right for a moment in it."""
    began_us = sidecar.reckoning.copy().began_us
    sidecar.run(DAY_US - (sidecar.reckoning.running_us - began_us))  # a new day begins
    sidecar.set_clock(60 * DAY_US)
    sidecar.reckoning.look()
    sidecar.run(DAY_US - 1, None)
    assert sidecar.reckoning.reckoned_us == sidecar.true_us
    sidecar.set_clock(0)
    sidecar.run(1, None)
    sidecar.set_clock(60 * DAY_US)
    sidecar.run(2 * DAY_US - 2, None)
    assert sidecar.reckoning.reckoned_us == sidecar.true_us
