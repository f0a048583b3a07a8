"""Alerts on a model's streams, and on calls whose usage is not known."""

from collections.abc import Mapping
from pathlib import Path

from tests.deploy.prometheus.rules import Case, Labels, Values, check, check_recorded, flat, metric, phases, rising
from tests.deploy.prometheus.rules import without as without_samples
from tests.deploy.prometheus.test_model_rules import outcomes

A: Labels = {"model_id": "a", "severity": "ticket"}
TTFT = "model_time_to_first_token_seconds"
Series = dict[str, Values]


def labels(model: str, instance: str) -> dict[str, str]:
    return {"job": "metrics-sidecar", "instance": instance, "model_id": model}


def first_tokens(fast: Values, slow: Values, model: str = "a", instance: str = "one") -> Series:
    """So many streams began within 0.1 s, and so many after 2.5 to 5 s."""
    both = [None if one is None or two is None else one + two for one, two in zip(fast, slow, strict=True)]
    own = labels(model, instance)
    buckets = {"0.1": fast, "2.5": fast, "5.0": both, "+Inf": both}
    return {
        metric(f"{TTFT}_count", **own): both,
        **{metric(f"{TTFT}_bucket", **own, le=le): values for le, values in buckets.items()},
    }


def without(series: Mapping[str, Values], from_minute: float, to_minute: float, step_s: int = 15) -> Series:
    return {name: without_samples(values, from_minute, to_minute, step_s) for name, values in series.items()}


def later(series: Mapping[str, Values], minutes: int) -> Series:
    return {name: [*[None] * (minutes * 4), *values] for name, values in series.items()}


def test_slow_first_token(tmp_path: Path) -> None:
    """A 95th percentile of more than 2.5 s for 5 minutes, of at least 20 streams in 5 minutes."""
    slow = first_tokens(rising(90, 20), rising(10, 20))
    many = {
        name: values for n in range(20) for name, values in first_tokens(rising(99, 20), rising(1, 20), f"m{n}").items()
    }
    cases = [
        Case(
            "fires",
            slow,
            {4: [], 10: [A]},
            {
                "summary": "Streams of a are slow to begin",
                "description": (
                    "The 95th percentile of the time to the first token of a was 3.75s in the last 5 minutes; 2.5 s "
                    "are allowed."
                ),
            },
        ),
        Case("not at the edge", first_tokens(rising(95, 20), rising(5, 20)), {10: [], 19: []}),
        Case("just beyond the edge", first_tokens(rising(94.9, 20), rising(5.1, 20)), {4: [], 10: [A]}),
        Case("few streams, all of them slow", first_tokens(flat(0, 20), rising(3.9, 20)), {10: [], 19: []}),
        Case("just enough streams", first_tokens(flat(0, 20), rising(4.1, 20)), {4: [], 11: [A]}),
        Case("no streams any more", first_tokens(flat(90, 20), flat(10, 20)), {10: [], 19: []}),
        Case("a model without streams", outcomes(rising(90, 20), rising(10, 20)), {10: [], 19: []}),
        Case(
            "a short burst", first_tokens(rising(90, 20), phases((0, 10), (100, 1), (0, 9))), {12: [], 14: [], 16: []}
        ),
        Case("ends when it is over", first_tokens(rising(90, 20), phases((10, 10), (0, 10))), {10: [A], 16: []}),
        Case("a new model", later(first_tokens(rising(90, 12), rising(10, 12)), 8), {7: [], 12: [], 19: [A]}),
        Case("one among many", {**many, **slow}, {4: [], 10: [A]}),
        Case("a restarted sidecar or a target gone for a minute", without(slow, 10, 11), {9: [A], 10.5: [A], 19: [A]}),
        Case("a sidecar that was away for ten minutes", without(slow, 8, 18), {7.5: [A], 14: [], 18.25: []}),
        Case(
            "a restarted sidecar, few slow ones",
            without(first_tokens(rising(96, 20), rising(4, 20)), 10, 10.5),
            {11: [], 16: []},
        ),
        Case(
            "a new Prometheus: all of it was before",
            first_tokens(rising(99, 20, 900), rising(1, 20, 900)),
            {1: [], 19: []},
        ),
        Case(
            "two replicas, 4 % slow together",
            {
                **first_tokens(rising(100, 20), flat(0, 20)),
                **first_tokens(rising(92, 20), rising(8, 20), instance="two"),
            },
            {10: [], 19: []},
        ),
        Case(
            "two replicas, 8 % slow and enough only together",
            {
                **first_tokens(rising(2.5, 20), flat(0, 20)),
                **first_tokens(rising(2.1, 20), rising(0.4, 20), instance="two"),
            },
            {4: [], 11: [A]},
        ),
    ]
    check("ModelSlowFirstToken", cases, tmp_path)


def test_slow_first_streams_of_a_new_model(tmp_path: Path) -> None:
    """All fifty that began before the first scrape of it count, with none after them."""
    committed = metric("sidecar_records_committed_total", job="metrics-sidecar", instance="one")
    series = {
        committed: phases((10, 10), (210, 0.25), (10, 9.75)),
        **outcomes(rising(10, 20), flat(0, 20), "old"),
        **later(outcomes(flat(50, 10), flat(0, 10), "new"), 10),
        **later(first_tokens(flat(0, 10), flat(50, 10), "new"), 10),
    }
    recorded = {
        f'model:{TTFT}:p95_rate5m{{model_id="new"}}': 2.5 + 0.95 * 2.5,
        f'model:{TTFT}_count:increase5m{{model_id="new"}}': 50.0,
    }
    check_recorded(series, 12, recorded, tmp_path)


STEP_S = 60
HOUR = 60.0


def usage(
    missing: float, known: float, hours: float = 3, model: str = "a", instance: str = "one", start: float = 0.0
) -> Series:
    """So many successes per minute without usage, and so many with it, beside two failures."""
    minutes = hours * HOUR
    return {
        **outcomes(
            rising(missing + known, minutes, 2 * start, STEP_S), rising(2, minutes, start, STEP_S), model, instance
        ),
        metric("model_usage_missing_total", **labels(model, instance)): rising(missing, minutes, start, STEP_S),
    }


def test_usage_missing(tmp_path: Path) -> None:
    """More than 5 % of a model's successes for 15 minutes, of an hour, and at least ten."""
    failing = usage(6, 94)
    cases = [
        Case(
            "fires",
            failing,
            {10: [], 120: [A]},
            {
                "summary": "Tokens and cost of a are not whole",
                "description": (
                    "6.0 % of the successful invocations of a in the last hour came without usage; 5 % are allowed. "
                    "Their tokens and cost are in no figure."
                ),
            },
        ),
        Case("not at the edge", usage(5, 95), {20: [], 120: [], 179: []}),
        Case("all are without usage, and failures aside", usage(1, 0), {10: [], 120: [A]}),
        Case("few calls", usage(0.1, 0.1), {60: [], 179: []}),
        Case("none is without usage", usage(0, 100), {60: [], 179: []}),
        Case("no calls any more", usage(0, 0, start=900), {60: [], 179: []}),
        Case("a model that has no such calls", outcomes(rising(9, 60), flat(0, 60)), {30: [], 59: []}),
        Case(
            "a restarted sidecar or a target gone for a minute", without(failing, 60, 61, STEP_S), {62: [A], 120: [A]}
        ),
        Case("away for two hours", without(usage(4, 96, 6), 120, 240, STEP_S), {240: [], 260: [], 350: []}),
        Case("a new Prometheus: all of it was before", usage(1, 99, start=9e5), {1: [], 20: [], 120: []}),
        Case("one among many", {**usage(1, 99, model="b"), **failing}, {120: [A]}),
        Case("two replicas, 4 % together", {**usage(0, 50), **usage(4, 46, instance="two")}, {120: []}),
        Case("two replicas, 8 % together", {**usage(0, 50), **usage(8, 42, instance="two")}, {120: [A]}),
    ]
    check("ModelUsageMissing", cases, tmp_path, STEP_S)
