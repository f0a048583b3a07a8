"""Calls to several endpoints that go wrong: the short form of what `make chaos` does behind the other faults."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.calls import Call, Outcome
from tests.chaos.endpoints.checks import Told, check, check_limits
from tests.chaos.endpoints.faults import KINDS, Trouble, draw
from tests.chaos.endpoints.run import Options, run_endpoints
from tests.chaos.endpoints.watch import Sample
from tests.chaos.views import Row

SHORT = Options(seed=2, faults=8, rate=100.0)


@pytest.mark.timeout(400)
async def test_attempts_add_up_and_nothing_is_lost(tmp_path: Path) -> None:
    """Endpoints die, hang, refuse and break off under load, workers and sidecar too, while the models file changes."""
    outcome = await run_endpoints(SHORT, tmp_path, print)
    assert outcome.problems == []
    assert outcome.rows > 500
    assert outcome.reloads > 3
    assert outcome.found.again > 0


def test_a_seed_is_a_sequence() -> None:
    faults = draw(7, len(KINDS), 2)
    assert faults == draw(7, len(KINDS), 2) != draw(8, len(KINDS), 2)
    assert sorted(fault.kind for fault in faults) == sorted(KINDS)


def told(
    hits: tuple[str, ...] = ("a",),
    troubles: tuple[Trouble, ...] = (),
    count: int = 1,
    outcome: Outcome = "answered",
    **row: Any,
) -> Told:
    """Calls of one model, alike, from second 10 to 11."""
    fields = {"success": True, "error_type": None, "error_log": "", "attempts": 1, "upstream": "a", **row}
    calls = [Call("spread-0", size, 1, 10.0, 11.0, outcome, 200) for size in range(1, count + 1)]
    rows = {
        call.key: Row(id=1, model_id="spread-0", latency_ms=1.0, input_size=1, output_size=1, **fields)
        for call in calls
    }
    out = {("spread-0", "a"): 30.0}
    samples = [Sample(at - 1.0, at, 2, out, frozenset({("spread-0", "b")})) for at in (9.0, 20.0)]
    return Told(calls, rows, {call.key: hits for call in calls}, troubles, samples, 2)


DIES = (Trouble("dies", "a", 9.0, 12.0),)
REFUSED: dict[str, Any] = {"success": False, "error_type": "connect", "error_log": "can't connect to upstream: refused"}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (told(), []),
        (told(("b",), upstream="b", count=50), []),
        (told(("a", "b")), ["1 attempts, and ['a', 'b'] got it"]),
        (told((), attempts=2), ["2 attempts, and only [] got it", "after 2 attempts"]),
        (told(("b",), upstream="a"), ["a is recorded, and ['b'] got it"]),
        (told(("x",), upstream="x"), ["['x'] got it"]),
        (told(success=False, error_type="upstream_status"), ["nothing was wrong, and it ended with upstream_status"]),
        (told((), DIES, **REFUSED), ["no other was tried"]),
        (told(("b",), DIES, attempts=2, upstream="b"), []),
        (told(outcome="unknown"), ["unknown after 1.0 s, though no worker died"]),
        (told(outcome="unknown", troubles=(Trouble("worker_killed", "", 10.5, 12.0),)), []),
        (told(count=3), ["a was out, and got 3 calls"]),
        (told(("a", "b", "c"), DIES, count=50, attempts=3), ["100 attempts beyond the first of 50 calls"]),
    ],
    ids=range(13),
)
def test_what_does_not_add_up_is_told(case: Told, said: list[str]) -> None:
    problems = check(case).problems
    assert [part for part in said if not any(part in problem for problem in problems)] == []
    assert bool(problems) == bool(said)


def test_a_place_that_is_still_taken_is_told() -> None:
    series = {'invoker_limit_in_flight{limit="m"}': 1.0, 'invoker_queue_length{limit="m"}': 0.0, "other": 3.0}
    assert [*check_limits(series)] == ['invoker_limit_in_flight{limit="m"} is 1 at rest']
