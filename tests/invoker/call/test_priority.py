"""What calls of each priority may take."""

import pytest

from invoker.call.priority import Priority, most_in_flight, most_waiting, priority_of


@pytest.mark.parametrize(
    ("said", "priority"),
    [
        (b"low", Priority.LOW),
        (b"Normal", Priority.NORMAL),
        (b"HIGH", Priority.HIGH),
        (b"", None),
        (b"1", None),
        (b"high, high", None),
    ],
)
def test_a_priority_is_one_of_three_words(said: bytes, priority: Priority | None) -> None:
    assert priority_of(said) == priority


def test_low_priority_leaves_the_last_places_to_others() -> None:
    """Of a limit the last fifth, but for a limit of one; of its queue the latter half."""
    limits = [
        (most, most_in_flight(Priority.LOW, most), most_waiting(Priority.LOW, most)) for most in (1, 2, 5, 8, 100)
    ]
    assert limits == [(1, 1, 0), (2, 1, 1), (5, 4, 2), (8, 6, 4), (100, 80, 50)]
    for priority in (Priority.NORMAL, Priority.HIGH):
        assert [most_in_flight(priority, most) for most in (1, 2, 100)] == [1, 2, 100]
        assert [most_waiting(priority, most) for most in (0, 1, 100)] == [0, 1, 100]
