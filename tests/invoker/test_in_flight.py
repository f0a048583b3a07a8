"""Calls in flight per model, and what changed of them."""

from invoker.in_flight import InFlight


def test_calls_are_counted_per_model() -> None:
    """Who enters is counted until it leaves."""
    in_flight = InFlight()
    for model_id in ("a", "a", "b"):
        in_flight.enter(model_id)
    in_flight.leave("a")
    assert (in_flight.total, in_flight.count("a"), in_flight.count("b"), in_flight.count("c")) == (2, 1, 1, 0)


def test_each_change_is_handed_out_once() -> None:
    """With the count as it is then, down to 0."""
    in_flight = InFlight()
    in_flight.enter("a")
    in_flight.enter("b")
    assert in_flight.changes(10) == {"a": 1, "b": 1}
    assert in_flight.changes(10) == {}
    in_flight.leave("a")
    assert in_flight.changes(10) == {"a": 0}


def test_changes_come_in_bounded_parts() -> None:
    """What is beyond the limit comes the next time."""
    in_flight = InFlight()
    models = [f"m{number}" for number in range(25)]
    for model_id in models:
        in_flight.enter(model_id)
    parts = [in_flight.changes(10) for _ in range(4)]
    assert [len(part) for part in parts] == [10, 10, 5, 0]
    assert sorted(model_id for part in parts for model_id in part) == sorted(models)


def test_a_new_receiver_gets_every_count() -> None:
    """Whatever was handed out before."""
    in_flight = InFlight()
    for model_id in ("a", "b", "b"):
        in_flight.enter(model_id)
    in_flight.changes(10)
    in_flight.leave("a")
    assert in_flight.all() == {"b": 2}
    assert in_flight.changes(10) == {}
