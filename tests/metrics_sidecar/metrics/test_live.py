"""What the sidecar shows of this moment: as committed, and as connected workers report it; bounded."""

import asyncio

import pytest

from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.totals import NO_TOTALS, ModelTotals
from metrics_sidecar.ledger.transaction import State
from metrics_sidecar.metrics import live as live_module
from metrics_sidecar.metrics.exemplars import Exemplar
from metrics_sidecar.metrics.live import Live, LiveCopy, WorkerShare
from shared.record import MAX_COUNT, OVERFLOW_MODEL_ID

ONE = ModelTotals(success_count=1)
TWO = ModelTotals(success_count=2)
GAUGE, OTHER_GAUGE = "invoker_connections", "invoker_journal_bytes"
HEALTHY, OUTSTANDING = "invoker_upstream_healthy", "invoker_upstream_outstanding"


def committed(
    number: int,
    totals: dict[str, ModelTotals],
    counters: dict[str, dict[str, int]] | None = None,
    exemplars: dict[str, dict[int, Exemplar]] | None = None,
) -> Committed:
    return Committed(number, totals, {**(exemplars or {})}, counters or {}, 1, 0, 0, 0.0, dict.fromkeys(totals, number))


def labels(live: Live) -> dict[str, int]:
    return {label: totals.count for label, totals in live.snapshot().totals.items()}


def test_what_is_committed_takes_the_place_of_totals_and_adds_to_counters() -> None:
    """A counter ends at the largest integer; of exemplars the later one stays, in each bucket; a beginning is kept."""
    live = Live(State(1, totals={"m": ONE}, counters={"a": {"x": 1}}, created_us={"n": 5}), 9)
    first, second = Exemplar(1, 5, "1"), Exemplar(2, 5, "2")
    live.apply(committed(2, {"m": TWO}, {"a": {"x": 2, "y": 3}, "b": {"z": MAX_COUNT}}, {"m": {0: second}}))
    live.apply(committed(3, {"o": ONE}, {"b": {"z": 1}}, {"m": {0: first, 1: first}, "o": {0: first}}))
    snapshot = live.snapshot()
    assert snapshot.totals == {"m": TWO, "o": ONE}
    assert live.counters == {"a": {"x": 3, "y": 3}, "b": {"z": MAX_COUNT}}
    assert snapshot.exemplars == {"m": {0: second, 1: first}, "o": {0: first}}
    assert snapshot.created_us == {"n": 5, "m": 2, "o": 3}


async def test_the_numbers_of_a_transaction_are_those_right_after_it() -> None:
    """Of the last one at once, of a later one when it comes, and none of one that was before; each asker has a copy."""
    live = Live(State(2, totals={"m": ONE}, counters={"a": {"x": 1}}), 9)
    assert await live.copy_at(1) is None
    now = await live.copy_at(2)
    assert now == LiveCopy({"m": ONE}, {"a": {"x": 1}})
    next_ = [asyncio.ensure_future(live.copy_at(3)) for _ in range(2)]
    after, given_up = (asyncio.ensure_future(live.copy_at(4)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    live.apply(committed(3, {"m": TWO}, {"a": {"x": 1}}))
    live.apply(committed(4, {"n": ONE}))
    assert await asyncio.gather(*next_) == [LiveCopy({"m": TWO}, {"a": {"x": 2}})] * 2
    assert await after == LiveCopy({"m": TWO, "n": ONE}, {"a": {"x": 2}})
    assert now == LiveCopy({"m": ONE}, {"a": {"x": 1}})
    assert await live.copy_at(3) is None
    assert await live.copy_at(4) == await after


async def test_what_is_read_anew_takes_the_place_of_all() -> None:
    """Who waits for a transaction that it is past gets none, who waits for it has it, and others go on waiting."""
    live = Live(State(1, totals={"m": ONE}, counters={"a": {"x": 1}}, created_us={"m": 1}), 9)
    waiting = [asyncio.ensure_future(live.copy_at(number)) for number in (2, 3, 4)]
    given_up = [asyncio.ensure_future(live.copy_at(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    for each in given_up:
        each.cancel()
    live.reload(State(3, totals={"n": TWO}, counters={"b": {"y": 2}}, created_us={"n": 2}))
    copy = LiveCopy({"n": TWO}, {"b": {"y": 2}})
    assert await asyncio.gather(*waiting[:2]) == [None, copy]
    assert not waiting[2].done()
    assert await live.copy_at(2) is None
    assert await live.copy_at(3) == copy
    assert live.snapshot().created_us == {"n": 2}
    live.apply(committed(4, {"n": TWO}))
    assert await waiting[2] == copy


def test_calls_in_flight_and_gauges_are_sums_over_those_who_are_connected() -> None:
    """A report says what changed; one that is gone, and gone again, counts no more; unknown gauges are left out."""
    live = Live(State(), 9)
    first, second = live.join([]), live.join(["known"])
    live.report(first, {"m": 2, "n": 1}, {GAUGE: 1.5, "made_up": 7.0})
    live.report(second, {"m": 3}, {GAUGE: 2.0, OTHER_GAUGE: 4.0})
    assert live.snapshot().active == {"m": 5, "n": 1}
    assert labels(live) == {"known": 0, "m": 0, "n": 0}
    assert live.gauges() == {GAUGE: 3.5, OTHER_GAUGE: 4.0}
    live.report(first, {"n": 0, "never": 0}, {GAUGE: 1.0})
    assert live.snapshot().active == {"m": 5}
    assert live.gauges() == {GAUGE: 3.0, OTHER_GAUGE: 4.0}
    for _ in range(2):
        live.leave(second)
    assert live.snapshot().active == {"m": 2}
    assert live.gauges() == {GAUGE: 1.0}


def test_models_in_flight_are_bounded_over_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is there keeps its own; what ends, and who leaves, makes room for others."""
    monkeypatch.setattr(live_module, "MAX_IN_FLIGHT_MODELS", 3)
    live = Live(State(), 9)
    first, second = live.join([]), live.join([])
    live.report(first, {"a": 1, "b": 1}, {})
    live.report(second, {"c": 1, "d": 1}, {})
    assert live.snapshot().active == {"a": 1, "b": 1, "c": 1}
    live.report(second, {"c": 2, "e": 1}, {})
    assert live.snapshot().active == {"a": 1, "b": 1, "c": 2}
    live.report(first, {"a": 0}, {})
    live.report(second, {"e": 1, "f": 1}, {})
    assert live.snapshot().active == {"b": 1, "c": 2, "e": 1}
    for _ in range(2):
        live.leave(first)
    live.leave(WorkerShare())
    live.report(second, {"g": 1, "h": 1}, {})
    assert live.snapshot().active == {"c": 2, "e": 1, "g": 1}


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ((), {"a": 0, "b": 0, OVERFLOW_MODEL_ID: 0}),
        (("x",), {"x": 1, "a": 0, OVERFLOW_MODEL_ID: 0}),
        (("x", OVERFLOW_MODEL_ID), {"x": 1, OVERFLOW_MODEL_ID: 1, "a": 0}),
        (("x", "b"), {"x": 1, "b": 1, OVERFLOW_MODEL_ID: 0}),
    ],
)
def test_labels_are_no_more_than_allowed(counted: tuple[str, ...], expected: dict[str, int]) -> None:
    """Those that count something come first; the shared one is beside them, and what was shown before stays as it
    is."""
    live = Live(State(totals=dict.fromkeys(counted, ONE)), 2)
    share = live.join(["a", "b", "c"])
    live.report(share, {"a": 1, "d": 1, "e": 2}, {})
    snapshot = live.snapshot()
    assert labels(live) == expected
    assert sum(snapshot.active.values()) == 4
    assert snapshot.active[OVERFLOW_MODEL_ID] == (3 if "a" in expected else 4)
    assert live.totals == dict.fromkeys(counted, ONE)
    assert NO_TOTALS.count == 0


def test_models_that_are_known_are_bounded() -> None:
    """A model that is told again takes no room twice."""
    live = Live(State(), 2)
    live.know(["a"])
    live.know(["a", "b", "c"])
    live.know(["d"])
    assert labels(live) == {"a": 0, "b": 0}


def families_of(live: Live) -> dict[str, dict[str, float]]:
    return live.families().gauges


def test_labelled_gauges_are_of_all_workers_together_and_go() -> None:
    """A share that is told as gone, or whose worker left, is no longer part of it."""
    live = Live(State(), 9)
    first, second = live.join([]), live.join([])
    live.report(first, {}, {}, {HEALTHY: {"a": 1.0, "b": 1.0}, OUTSTANDING: {"a": 2.0}, "made_up": {"a": 1.0}})
    live.report(second, {}, {}, {HEALTHY: {"a": 0.0}, OUTSTANDING: {"a": 3.0}})
    assert families_of(live) == {HEALTHY: {"a": 0.5, "b": 1.0}, OUTSTANDING: {"a": 5.0}}
    live.report(first, {}, {}, {HEALTHY: {"b": None, "never": None}})
    assert families_of(live) == {HEALTHY: {"a": 0.5}, OUTSTANDING: {"a": 5.0}}
    live.leave(first)
    assert families_of(live) == {HEALTHY: {"a": 0.0}, OUTSTANDING: {"a": 3.0}}
    live.leave(second)
    assert families_of(live) == {}


def test_labels_of_gauges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a worker, and of all together: what is too many is under `__overflow__`."""
    monkeypatch.setattr(live_module, "MAX_VALUES", 2)
    live = Live(State(), 9)
    first = live.join([])
    live.report(first, {}, {}, {OUTSTANDING: {"a": 1.0, "b": 2.0, "__overflow__": 4.0, "d": 8.0}})
    assert families_of(live) == {OUTSTANDING: {"a": 1.0, "b": 2.0, "__overflow__": 4.0}}
    live.report(live.join([]), {}, {}, {OUTSTANDING: {"a": 16.0, "__overflow__": 32.0, "e": 64.0}})
    assert families_of(live) == {OUTSTANDING: {"a": 17.0, "b": 2.0, "__overflow__": 100.0}}
    live.leave(first)
    assert families_of(live) == {OUTSTANDING: {"a": 16.0, "e": 64.0, "__overflow__": 32.0}}


@pytest.mark.parametrize(("name", "expected"), [(GAUGE, 3.0), ("invoker_config_last_reload_successful", 1.0)])
def test_gauges_of_several_workers_become_one(name: str, expected: float) -> None:
    """Connections add up; a reload was successful where it was in all of them."""
    live = Live(State(), 9)
    for value in (1.0, 2.0):
        live.report(live.join([]), {}, {name: value})
    assert live.gauges() == {name: expected}


def test_a_family_with_too_many_values_is_told_of() -> None:
    """In words, for `/readyz`; other counters have `__overflow__` for other reasons."""
    attempts = "invoker_upstream_attempts_total"
    assert Live(State(counters={attempts: {"a success": 1}, "a_total": {"__overflow__": 1}}), 9).overflows == []
    (reason,) = Live(State(counters={attempts: {"__overflow__ success": 1}}), 9).overflows
    assert reason.startswith(f"{attempts} has more than 1000 values of a label")
