"""Calls in flight per model, and what changed of them."""

import tracemalloc

from invoker.call.in_flight import InFlight
from shared.wire import MAX_MODELS


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
    assert in_flight.changes() == {"a": 1, "b": 1}
    assert in_flight.changes() == {}
    in_flight.enter("a")
    in_flight.leave("b")
    assert in_flight.changes() == {"a": 2, "b": 0}
    assert in_flight.changes() == {}


def test_a_call_that_has_come_and_gone_is_no_change() -> None:
    """Nobody was told of it."""
    in_flight = InFlight()
    in_flight.enter("a")
    in_flight.leave("a")
    assert in_flight.changes() == {}


def test_models_beyond_the_limit_wait_until_others_have_ended() -> None:
    """No more are told of at one time than a receiver takes."""
    in_flight = InFlight()
    models = [f"m{number}" for number in range(MAX_MODELS + 2)]
    for model_id in models:
        in_flight.enter(model_id)
    assert set(in_flight.changes()) == set(models[:MAX_MODELS])
    assert in_flight.changes() == {}
    in_flight.leave("m0")
    assert in_flight.changes() == {"m0": 0, models[MAX_MODELS]: 1}


def test_nothing_gathers_while_nobody_asks() -> None:
    """A sidecar that is away for long finds the counts of then, whatever models have come and gone meanwhile."""
    in_flight = InFlight()
    tracemalloc.start()
    try:
        for number in range(300_000):
            in_flight.enter(f"m{number}")
            in_flight.leave(f"m{number}")
        gathered_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert gathered_bytes < 16 * 1024


def test_a_new_receiver_gets_every_count() -> None:
    """Whatever was handed out before."""
    in_flight = InFlight()
    for model_id in ("a", "b", "b"):
        in_flight.enter(model_id)
    in_flight.changes()
    in_flight.leave("a")
    assert in_flight.all() == {"b": 2}
    assert in_flight.changes() == {}
