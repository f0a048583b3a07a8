"""Places that several processes take: never too many, and none is lost."""

import ast
import subprocess
import sys
from typing import Any

import pytest

from invoker.routing.places import SLOTS, Tallies
from tests.processes import ROOT


def shared(*arguments: str) -> Any:
    """See `sharing`."""
    command = [sys.executable, "-m", "tests.invoker.routing.sharing", *arguments]
    return ast.literal_eval(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_than_allowed_are_within_at_any_time(most: int) -> None:
    """Four processes take a place again and again; whoever has one marks that, and looks how many others have. Each got
    one as often as it wanted, and none is left taken."""
    seen, left = shared("within", str(most))
    assert 1 <= seen <= most
    assert left == 0


def test_each_counts_in_a_row_of_its_own() -> None:
    tallies = Tallies(3)
    one, other = tallies.of(0), tallies.of(2)
    assert [one.take(5, 2), other.take(5, 2), one.take(5, 2), one.take(6, 2)] == [True, True, False, True]
    assert [one.total(5), other.total(5), tallies.total(5), tallies.total(6)] == [2, 2, 2, 1]
    other.give_back(5)
    assert [one.take(5, 2), one.take(5, 2)] == [True, False]
    tallies.clear(0)
    assert (tallies.total(5), tallies.total(6)) == (0, 0)
    assert [other.take(SLOTS - 1, 1), other.take(SLOTS - 1, 1)] == [True, False]


def test_who_is_alone_counts_alike() -> None:
    alone = Tallies(1).of(0)
    assert [alone.take(0, 2) for _ in range(3)] == [True, True, False]
    alone.give_back(0)
    assert [alone.take(0, 2), alone.take(0, 2), alone.total(0)] == [True, False, 2]


def test_who_is_killed_keeps_no_place_once_its_row_is_cleared() -> None:
    """Whenever that was, between any two of its steps."""
    assert shared("killed", "10") == [0] * 10
