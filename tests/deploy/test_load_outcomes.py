"""What callers saw is counted and compared, exactly or as a range where no answer came."""

import pytest

from deploy.load_answers import Seen, verdict_of
from deploy.load_outcomes import ModelTally, Tally, Totals, decode_stats, differences, percentile, summary_ms

OK = b'{"worklet_output": [6], "success": true, "latency_ms": 1, "error_log": ""}'
FAILED = b'{"worklet_output": null, "success": false, "latency_ms": 1, "error_log": "no"}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, OK, ModelTally(successful=1)),
        (200, FAILED, ModelTally(failed=1)),
        *((status, FAILED, ModelTally(failed=1)) for status in (429, 500, 502, 503, 504)),
        *((status, FAILED, ModelTally(rejected=1)) for status in (400, 404, 413, 415, 422)),
        (200, b"", ModelTally(unknown=1)),
        (200, b'{"success": "yes"}', ModelTally(unknown=1)),
        (501, FAILED, ModelTally(unknown=1)),
    ],
)
def test_an_answer_is_counted_by_status_and_success(status: int, body: bytes, expected: ModelTally) -> None:
    """Each answer is exactly one of successful, failed, rejected and unknown."""
    tally = Tally.of(["m"])
    tally.ended("m", Seen(verdict_of(status, body), str(status)))
    assert tally.models == {"m": expected}
    assert tally.statuses == {str(status): 1}


@pytest.mark.parametrize(
    ("seen", "recorded", "agrees"),
    [
        (ModelTally(successful=3, failed=2), Totals(5, 3, 2), True),
        (ModelTally(successful=3, failed=2, rejected=9), Totals(5, 3, 2), True),
        (ModelTally(successful=3, failed=2), Totals(5, 2, 3), False),
        (ModelTally(successful=3, failed=2), Totals(6, 4, 2), False),
        (ModelTally(successful=3, failed=2), Totals(4, 3, 1), False),
        (ModelTally(successful=3, failed=2), Totals(6, 3, 2), False),
        (ModelTally(successful=3, failed=2, unknown=2), Totals(5, 3, 2), True),
        (ModelTally(successful=3, failed=2, unknown=2), Totals(7, 4, 3), True),
        (ModelTally(successful=3, failed=2, unknown=2), Totals(8, 5, 3), False),
        (ModelTally(successful=3, failed=2, unknown=2), Totals(7, 2, 5), False),
    ],
)
def test_agreement_is_exact_but_for_unknown_outcomes(seen: ModelTally, recorded: Totals, agrees: bool) -> None:
    """Each unknown outcome may have been recorded once, either way, or not at all."""
    assert seen.agrees_with(recorded) is agrees


def test_a_difference_names_the_model_and_both_counts() -> None:
    """Totals from before the run are subtracted, and only models of the run are compared."""
    tally = Tally({"a": ModelTally(successful=2), "b": ModelTally(successful=1), "new": ModelTally()})
    before = {"a": Totals(10, 9, 1), "b": Totals(5, 5, 0), "other": Totals(1, 1, 0)}
    after = {"a": Totals(12, 11, 1), "b": Totals(7, 6, 1), "other": Totals(9, 9, 0)}
    assert differences(tally, before, after) == [
        "b: callers saw 1 successful and 0 failed; the sidecar has 2: 1 successful and 1 failed"
    ]


def test_stats_are_read_from_the_sidecars_answer() -> None:
    """Of the fields of each model only the three counts are needed."""
    body = (
        b'{"stats": {"m": {"model_id": "m", "total_invocations": 3, "successful_invocations": 2,'
        b' "failed_invocations": 1, "success_rate": 66.7}}}'
    )
    assert decode_stats(body) == {"m": Totals(3, 2, 1)}


def test_percentiles_are_values_that_were_measured() -> None:
    """The nearest rank is taken, without interpolation, also of very few values."""
    values = [float(value) for value in range(1, 1001)]
    assert [percentile(values, percent) for percent in (50, 90, 99, 99.9)] == [500, 900, 990, 999]
    assert percentile([7.0], 99.9) == 7.0
    assert summary_ms([]) == {"p50": 0.0, "p90": 0.0, "p99": 0.0, "p99.9": 0.0, "max": 0.0}
    assert summary_ms([0.002, 0.001]) == {"p50": 1.0, "p90": 2.0, "p99": 2.0, "p99.9": 2.0, "max": 2.0}
