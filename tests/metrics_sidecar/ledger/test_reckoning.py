"""Which time is believed, with clocks that are moved by hand."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from metrics_sidecar.history.windows import DAY_US
from metrics_sidecar.ledger.reckoning import AHEAD, BACK, TOLERANCE_US, Reckoning, TimeState
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


RAN_US = 5_000
"""Running time of an earlier life."""


@pytest.mark.parametrize("newest_us", [NOW_US - DAY_US, NOW_US, NOW_US + DAY_US])
@pytest.mark.parametrize("at_start", [True, False])
def test_the_first_records_say_which_time_it_is(at_start: bool, newest_us: int) -> None:
    """Those of an older release, or the first that come; no later than the clock says, and only the first."""
    reckoning = Reckoning(TimeState(running_us=RAN_US), FakeClock(), newest_us if at_start else None)
    if not at_start:
        assert (reckoning.reckoned_us, reckoning.aged_us, reckoning.lead_us) == (0, 0, 0)
        reckoning.recorded(newest_us)
    expected_us = min(newest_us, NOW_US)
    assert (reckoning.reckoned_us, reckoning.aged_us, reckoning.lead_us) == (
        expected_us,
        expected_us,
        NOW_US - expected_us,
    )
    assert reckoning.arrival_us == NOW_US
    reckoning.recorded(NOW_US - 2 * DAY_US)
    assert reckoning.reckoned_us == expected_us
    assert Reckoning(reckoning.copy(), FakeClock(), NOW_US - 2 * DAY_US).reckoned_us == expected_us


def started(off_us: int) -> Reckoning:
    """Where the clock is so far off what was believed when the process ended."""
    state = TimeState(running_us=RAN_US, offset_us=NOW_US - RAN_US)
    return Reckoning(state, FakeClock(NOW_US + off_us))


@pytest.mark.parametrize(
    ("off_us", "jumps", "concern"),
    [
        (0, {}, None),
        (DAY_US, {}, None),
        (DAY_US + 1, {AHEAD: 1}, "the clock is 1 d 0 h ahead of the time"),
        (60 * DAY_US + HOUR_US, {AHEAD: 1}, "the clock is 60 d 1 h ahead of the time"),
        (-TOLERANCE_US, {}, None),
        (-TOLERANCE_US - 1, {BACK: 1}, "the clock jumped, and is 0 h 1 min behind of what"),
        (-HOUR_US - TOLERANCE_US, {BACK: 1}, "the clock jumped, and is 1 h 1 min behind of what"),
        (-25 * HOUR_US, {BACK: 1}, "the clock jumped, and is 1 d 1 h behind of what"),
    ],
)
def test_what_is_told_of_a_clock_at_the_start(off_us: int, jumps: dict[str, int], concern: str | None) -> None:
    """That it is a day ahead is no wonder: the sidecar was off. What comes meanwhile is not of before that."""
    reckoning = started(off_us)
    assert reckoning.jump_counts == {AHEAD: 0, BACK: 0, **jumps}
    assert (reckoning.concern or "").startswith(concern or "none") == (concern is not None)
    assert reckoning.lead_us == off_us
    assert reckoning.jump_us == (off_us if BACK in jumps else 0)
    assert reckoning.reckoned_us == NOW_US
    assert reckoning.aged_us == NOW_US + min(off_us, 0)
    assert reckoning.latest_us == NOW_US + max(off_us, 0) + DAY_US
    assert reckoning.arrival_us == (NOW_US + off_us if off_us >= -TOLERANCE_US else NOW_US)


def test_a_clock_that_drifts_behind_is_told_of_without_a_jump(sidecar: Sidecar) -> None:
    """By a minute in all, which no step of it was."""
    for _ in range(2):
        sidecar.clock.wall_us -= TOLERANCE_US // 2
        sidecar.reckoning.look()
    assert not sidecar.concern
    sidecar.clock.wall_us -= 1
    sidecar.reckoning.look()
    assert sidecar.concern.startswith("the clock is 0 h 1 min behind of the time")
    assert (sidecar.reckoning.jump_us, sidecar.reckoning.jump_counts) == (0, {AHEAD: 0, BACK: 0})


@pytest.mark.parametrize(
    ("step_us", "expected_us"), [(-1, 0), (0, 0), (1, 1), (HOUR_US, HOUR_US), (HOUR_US + 1, HOUR_US)]
)
def test_running_time_is_what_passes_between_two_looks(step_us: int, expected_us: int) -> None:
    """An hour at the most, and never less than none."""
    clock = FakeClock()
    reckoning = Reckoning(TimeState(running_us=RAN_US), clock)
    clock.running_us += step_us
    for _ in range(2):
        reckoning.look()
        assert reckoning.running_us == RAN_US + expected_us


@pytest.mark.parametrize("off_us", [-2 * DAY_US, 2 * DAY_US, -TOLERANCE_US - 1, TOLERANCE_US + 1])
def test_a_clock_that_is_right_after_all_is_believed(sidecar: Sidecar, off_us: int) -> None:
    """After a whole day of running in which it was so; behind at once, and ahead while records are of that time."""
    sidecar.true_us += off_us
    sidecar.set_clock(0)
    sidecar.run(1)
    assert sidecar.reckoning.jump_us == off_us
    with capture_logs() as logged:
        sidecar.run(2 * DAY_US)
    assert [line["event"] for line in logged] == ["clock.believed"]
    assert sidecar.reckoning.jump_us == 0
    assert sidecar.reckoning.arrival_us == sidecar.reckoning.reckoned_us == sidecar.true_us
    assert sidecar.reckoning.lead_us == 0
    assert not sidecar.concern
    sidecar.run(DAY_US)
    assert sidecar.error_us == 0
    assert sum(sidecar.reckoning.jump_counts.values()) == 1


@pytest.mark.parametrize(
    ("newest_us", "is_believed"),
    [([], True), ([-DAY_US], True), ([-DAY_US - 1], False), ([-DAY_US, -DAY_US - 1], True), ([-DAY_US - 1, 0], True)],
)
def test_records_of_a_day_before_say_that_a_clock_is_ahead(newest_us: list[int], is_believed: bool) -> None:
    """One of that time is enough to believe it, and so is none at all; each day for itself."""
    clock = FakeClock(NOW_US + 60 * DAY_US)
    reckoning = Reckoning(TimeState(offset_us=NOW_US, began_us=0), clock)
    for day, expected_us in enumerate((NOW_US + 60 * DAY_US if is_believed else NOW_US, NOW_US + 60 * DAY_US)):
        for age_us in newest_us if day == 0 else []:
            reckoning.recorded(clock.wall_us + age_us)
        for _ in range(24):
            clock.wall_us += HOUR_US
            clock.running_us += HOUR_US
            reckoning.look()
        assert reckoning.reckoned_us - reckoning.running_us == expected_us


def test_what_is_old_is_what_was_so_in_this_day_and_the_one_before(sidecar: Sidecar) -> None:
    """A clock that was behind for a moment removes nothing for as long."""
    sidecar.run(DAY_US - (sidecar.reckoning.running_us - sidecar.reckoning.copy().began_us))
    sidecar.set_clock(-HOUR_US)
    sidecar.reckoning.look()
    sidecar.set_clock(0)
    for hour in range(1, 49):
        sidecar.run(HOUR_US)
        assert sidecar.error_us == (-HOUR_US if hour < 48 else 0), hour


@pytest.mark.parametrize(("now_us", "expected_us"), [(MAX_TIMESTAMP_US, MAX_TIMESTAMP_US), (0, 0), (-1, 0), (1, 1)])
def test_the_time_of_arrival_is_one_that_a_record_may_have(now_us: int, expected_us: int) -> None:
    """Whatever the clock says, and for how long that has been gone by."""
    clock = FakeClock(now_us)
    reckoning = Reckoning(TimeState(running_us=RAN_US), clock)
    assert reckoning.arrival_us == expected_us
    clock.wall_us = NOW_US
    clock.running_us += HOUR_US
    reckoning.look()
    assert reckoning.arrival_us == min(max(now_us + HOUR_US, 0), MAX_TIMESTAMP_US)
