"""Alerts on models fire when they should, and only then."""

from collections.abc import Mapping
from pathlib import Path

from tests.deploy.prometheus.rules import Case, Labels, Values, check, flat, metric, phases, rising, without

A: Labels = {"model_id": "a", "severity": "ticket"}
STEP_S = 30
"""For what takes an hour."""

FAST = {"0.5": 0.0, "2.0": 1.0, "2.5": 1.0, "+Inf": 1.0}
SLOW = {"0.5": 0.0, "2.0": 0.0, "2.5": 1.0, "+Inf": 1.0}


def outcomes(success: Values, failure: Values, model: str = "a", instance: str = "one") -> dict[str, Values]:
    """The counters of one model at one sidecar."""
    return {
        metric(
            "model_invocations_total", model_id=model, status=status, job="metrics-sidecar", instance=instance
        ): values
        for status, values in (("success", success), ("failure", failure))
    }


def buckets(rates: Mapping[str, float], minutes: float, model: str = "a", instance: str = "one") -> dict[str, Values]:
    """A latency histogram with so many invocations a minute at or below each bound."""
    return {
        metric("model_invocation_latency_seconds_bucket", model_id=model, le=le, instance=instance): rising(
            rate, minutes
        )
        for le, rate in rates.items()
    }


def share_of_slow(share: float, per_minute: float = 100.0) -> dict[str, float]:
    """Rates per bucket when this share of the invocations takes 2 to 2.5 s."""
    return {le: per_minute * ((1 - share) * FAST[le] + share * SLOW[le]) for le in FAST}


def test_high_error_rate(tmp_path: Path) -> None:
    """More than 5 % for 5 minutes, of each model by itself, over all replicas."""
    ok, bad, some = rising(90, 20), rising(10, 20), rising(4, 20)
    new = [*flat(0, 1), *rising(10, 19)]
    many = {name: values for n in range(20) for name, values in outcomes(rising(100, 20), flat(0, 20), f"m{n}").items()}
    cases = [
        Case(
            "fires",
            outcomes(ok, bad),
            {4: [], 10: [A]},
            {
                "summary": "a fails often",
                "description": "10.0 % of the invocations of a failed in the last 5 minutes; 5 % are allowed.",
            },
        ),
        Case("every call fails", outcomes(flat(0, 20), bad), {4: [], 10: [A]}),
        Case("not at the edge", outcomes(rising(95, 20), rising(5, 20)), {10: [], 19: []}),
        Case(
            "ends when it is over", outcomes(phases((90, 10), (100, 10)), phases((10, 10), (0, 10))), {10: [A], 16: []}
        ),
        Case("a short burst", outcomes(rising(100, 20), phases((0, 10), (100, 1), (0, 9))), {12: [], 14: [], 16: []}),
        Case("no traffic", outcomes(flat(90, 20), flat(10, 20)), {10: [], 19: []}),
        Case("a new model", outcomes([None] * 40 + new[:40], [None] * 40 + new[:40]), {12: [], 19: [A]}),
        Case(
            "a new model whose only call failed",
            outcomes(flat(0, 20), phases((0, 10), (4, 0.25), (0, 9.75))),
            {14: [], 19: []},
        ),
        Case("one among many", {**many, **outcomes(ok, bad)}, {4: [], 10: [A]}),
        Case(
            "a restarted sidecar", outcomes(without(ok, 10, 10.5), without(bad, 10, 10.5)), {9: [A], 11: [A], 19: [A]}
        ),
        Case(
            "a restarted sidecar, few failures",
            outcomes(without(rising(96, 20), 10, 10.5), without(some, 10, 10.5)),
            {11: [], 16: []},
        ),
        Case(
            "a target gone for a minute",
            outcomes(without(ok, 10, 11), without(bad, 10, 11)),
            {10.5: [A], 11: [A], 19: [A]},
        ),
        Case(
            "two replicas, 4 % together",
            {**outcomes(rising(100, 20), flat(0, 20)), **outcomes(rising(92, 20), rising(8, 20), instance="two")},
            {10: [], 19: []},
        ),
        Case(
            "two replicas, 6 % together",
            {**outcomes(rising(100, 20), flat(0, 20)), **outcomes(rising(88, 20), rising(12, 20), instance="two")},
            {10: [A]},
        ),
    ]
    check("ModelHighErrorRate", cases, tmp_path)


def test_high_latency(tmp_path: Path) -> None:
    """A 95th percentile of more than 2 s for 5 minutes."""
    slow = buckets(share_of_slow(0.1), 20)
    gone = {name: without(values, 10, 11) for name, values in slow.items()}
    many = {name: values for n in range(20) for name, values in buckets(share_of_slow(0.0), 20, f"m{n}").items()}
    late = {name: [*[None] * 40, *values[:40]] for name, values in slow.items()}
    cases = [
        Case(
            "fires",
            slow,
            {4: [], 10: [A]},
            {
                "summary": "a is slow",
                "description": (
                    "The 95th percentile of the latency of a was 2.25s in the last 5 minutes; 2 s are allowed."
                ),
            },
        ),
        Case("not at the edge", buckets(share_of_slow(0.05), 20), {10: [], 19: []}),
        Case("just beyond the edge", buckets(share_of_slow(0.0501), 20), {4: [], 10: [A]}),
        Case("no traffic", {name: flat(100, 20) for name in slow}, {10: [], 19: []}),
        Case("a new model", late, {12: [], 19: [A]}),
        Case("one among many", {**many, **slow}, {4: [], 10: [A]}),
        Case("a restarted sidecar or a target gone for a minute", gone, {9: [A], 10.5: [A], 19: [A]}),
        Case(
            "two replicas, 4 % slow together",
            {**buckets(share_of_slow(0.0), 20), **buckets(share_of_slow(0.08), 20, instance="two")},
            {10: [], 19: []},
        ),
        Case(
            "two replicas, 8 % slow together",
            {**buckets(share_of_slow(0.0), 20), **buckets(share_of_slow(0.16), 20, instance="two")},
            {10: [A]},
        ),
    ]
    check("ModelHighLatency", cases, tmp_path)


def test_no_activity(tmp_path: Path) -> None:
    """Called within a day, and not in the last 10 minutes."""
    silent = phases((60, 30), (0, 30), step_s=STEP_S)
    rare = [float(minute // 9) for minute in range(60) for _ in range(2)]
    none = flat(0, 60, STEP_S)
    annotations = {
        "summary": "a is not called any more",
        "description": "a had up to 1.00 invocations per second within the last day, and none in the last 10 minutes.",
    }
    many = {
        name: values
        for n in range(20)
        for name, values in outcomes(rising(60, 60, step_s=STEP_S), none, f"m{n}").items()
    }
    cases = [
        Case("fires", outcomes(silent, none), {29: [], 39: [], 43: [A]}, annotations),
        Case("a failing model is called, too", outcomes(none, rising(60, 60, step_s=STEP_S)), {30: [], 59: []}),
        Case("a call every 9 minutes", outcomes(rare, none), {30: [], 59: []}),
        Case("no traffic, ever", outcomes(flat(7, 60, STEP_S), none), {30: [], 59: []}),
        Case(
            "a new model", outcomes([None] * 60 + list(rising(60, 30, step_s=STEP_S)), none), {20: [], 31: [], 59: []}
        ),
        Case(
            "a restarted sidecar",
            outcomes(without(rising(60, 60, step_s=STEP_S), 30, 30.5, STEP_S), none),
            {31: [], 59: []},
        ),
        Case("a restarted, silent sidecar", outcomes(without(silent, 35, 35.5, STEP_S), none), {39: [], 43: [A]}),
        Case(
            "a target gone for a minute",
            outcomes(without(rising(60, 60, step_s=STEP_S), 30, 31, STEP_S), none),
            {30.5: [], 32: [], 42: []},
        ),
        Case(
            "a model that vanished",
            outcomes(without(rising(60, 60, step_s=STEP_S), 30, 60, STEP_S), without(none, 30, 60, STEP_S)),
            {39: [], 43: [A]},
        ),
        Case("one among many", {**many, **outcomes(silent, none)}, {39: [], 43: [A]}),
        Case(
            "one of two replicas is called",
            {**outcomes(silent, none), **outcomes(rising(6, 60, step_s=STEP_S), none, instance="two")},
            {43: [], 59: []},
        ),
        Case(
            "none of two replicas is called",
            {**outcomes(silent, none), **outcomes(silent, none, instance="two")},
            {43: [A]},
        ),
        Case("back again", outcomes(phases((60, 10), (0, 20), (60, 30), step_s=STEP_S), none), {23: [A], 32: []}),
    ]
    check("ModelNoActivity", cases, tmp_path, STEP_S)
