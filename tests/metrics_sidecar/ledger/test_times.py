"""Times that records can't have, on the bounds of those that they can."""

import pytest

from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.times import ANY_TIME, FUTURE, PAST, Times
from metrics_sidecar.ledger.transaction import State, Work
from shared.record import MAX_TIMESTAMP_US, Record

TIMES = Times(100, 200, 150)


@pytest.mark.parametrize(
    ("at_us", "expected_us", "reason"),
    [
        (100, 100, None),
        (99, 150, PAST),
        (0, 150, PAST),
        (200, 200, None),
        (201, 150, FUTURE),
        (MAX_TIMESTAMP_US, 150, FUTURE),
    ],
)
def test_a_time_out_of_bounds_is_that_of_the_arrival(at_us: int, expected_us: int, reason: str | None) -> None:
    """It is counted, alone and among others, which keep theirs; and says nothing about which time it is."""
    others = [Record("a", 120, 5), Record("b", 130, 5, error_log="why")]
    for records in ([Record("m", at_us, 5)], [others[0], Record("m", at_us, 5), others[1]]):
        found, newest_us, clamped = TIMES.clamp(records)
        expected = [record if record in others else Record("m", expected_us, 5) for record in records]
        assert found == expected
        assert (found is records) == (reason is None)
        assert clamped == ({reason: 1} if reason else {})
        own_us = [record.timestamp_us for record in records if 100 <= record.timestamp_us <= 200]
        assert newest_us == max(own_us, default=None)


def test_without_bounds_all_times_stay() -> None:
    """The very same records."""
    records = [Record("m", at_us, 5) for at_us in (0, MAX_TIMESTAMP_US)]
    found, newest_us, clamped = ANY_TIME.clamp(records)
    assert found is records
    assert (newest_us, clamped) == (MAX_TIMESTAMP_US, {})
    assert ANY_TIME.clamp([]) == ([], None, {})


def test_what_is_sent_again_is_not_counted_again() -> None:
    """Only records that are new are looked at, and all views have the same time of them."""
    planner = Planner(State())
    work = Work("0" * 32, 1, [Record("m", 10**15, 5)] * 3)
    commit = planner.plan([work, work], 0, 7, TIMES)
    assert (commit.clamped, commit.duplicate_count, commit.totals["m"].last_timestamp_us) == ({FUTURE: 3}, 3, 150)
    assert commit.producers["0" * 32] is not None
    assert commit.producers["0" * 32].last_seen_us == 7
