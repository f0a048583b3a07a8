"""Families of workers' numbers: which are kept, and what several workers' come to."""

from typing import get_args

import pytest

from metrics_sidecar.intake.families import (
    COUNTED,
    FALLBACKS,
    MEASURED,
    SPREADS,
    Merge,
    joined,
    known_labelled,
    known_labelled_gauges,
    merged,
    parted,
)

ATTEMPTS = "invoker_upstream_attempts_total"


def test_only_known_families_are_kept() -> None:
    """The socket is not trusted: no other name, none that the ledger counts itself, and no second label that can't be
    told from the first."""
    reported = {
        ATTEMPTS: {"a b": {"success": 1, "a space": 7}},
        "invoker_upstream_latency_seconds": {"a": {"0.1": 2}},
        "invoker_upstream_attempts": {"a": {"success": 1}},
        FALLBACKS: {"m": {"": 5}},
        "made_up_total": {"a": {"": 1}},
    }
    assert known_labelled(reported) == {
        ATTEMPTS: {"a b success": 1},
        "invoker_upstream_latency_seconds": {"a 0.1": 2},
    }
    gauges: dict[str, dict[str, float | None]] = {"invoker_upstream_healthy": {"a": None}, "made_up": {"a": 1.0}}
    assert known_labelled_gauges(gauges) == {"invoker_upstream_healthy": {"a": None}}


@pytest.mark.parametrize("first", ["a", "a b", " ", "模型 x", "127.0.0.1:8000"])
@pytest.mark.parametrize("second", ["", "success", "0.005"])
def test_two_labels_stored_as_one_are_two_again(first: str, second: str) -> None:
    assert parted(joined(first, second)) == (first, second)


@pytest.mark.parametrize(("how", "expected"), [("sum", 1.5), ("mean", 0.75), ("min", 0.5), ("max", 1.0)])
def test_numbers_of_several_workers_become_one(how: Merge, expected: float) -> None:
    """An upstream that one of two workers leaves out is half healthy, for example."""
    assert merged([0.5, 1.0], how) == expected
    assert how in get_args(Merge)


def test_no_two_families_have_the_same_name() -> None:
    assert len({*COUNTED, *SPREADS, *MEASURED}) == len(COUNTED) + len(SPREADS) + len(MEASURED)
    assert all(family.beside in {"", *MEASURED} for family in COUNTED.values())
