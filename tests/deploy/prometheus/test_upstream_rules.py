"""Alerts on where calls go: upstreams, retries, queues, other models, and the models file."""

from collections.abc import Mapping
from pathlib import Path

from tests.deploy.prometheus.rules import Case, Values, check, flat, phases, rising, without
from tests.deploy.prometheus.test_model_rules import outcomes
from tests.deploy.prometheus.test_sidecar_rules import TICKET, one, two

PAGE = {"dashboard": "http://localhost:3000/d/model-invocation-metrics"}
FALLBACKS = "model_fallbacks_total"
A = {"model_id": "a", "severity": "ticket"}


def fallbacks(values: Values) -> Mapping[str, Values]:
    return one(FALLBACKS, values, model_id="a")


def test_upstream_out(tmp_path: Path) -> None:
    """For 5 minutes, wholly or in part."""
    name, labels = "invoker_upstream_healthy", {"upstream": "10.0.0.7:8000"}
    ticket = {**TICKET, **labels}
    cases = [
        Case(
            "fires",
            {**one(name, [*flat(1, 5), *flat(0, 10)], **labels), **one(name, flat(1, 15), upstream="other")},
            {5: [], 9: [], 11: [ticket]},
            {
                **PAGE,
                "summary": "The upstream 10.0.0.7:8000 gets no calls",
                "description": (
                    "10.0.0.7:8000 has been left out for 5 minutes by the gateway of one, or by some of its workers or "
                    "models (0.00 of it is in). Its calls go to the model's other upstreams."
                ),
            },
        ),
        Case("where one of two workers leaves it out", one(name, flat(0.5, 10), **labels), {4: [], 6: [ticket]}),
        Case("not where it comes back", one(name, [*flat(0, 4), *flat(1, 1), *flat(0, 4)], **labels), {8: []}),
        Case("not once the models file has it no longer", one(name, [*flat(0, 4), *[None] * 40], **labels), {10: []}),
        Case("not without upstreams", {}, {9: []}),
    ]
    check("UpstreamOut", cases, tmp_path)


def test_retry_budget_spent(tmp_path: Path) -> None:
    """For 5 minutes: one moment is what the budget is for."""
    name, busy = "invoker_retries_denied_total", {"reason": "busy"}
    cases = [
        Case(
            "fires",
            {**one(name, phases((0, 5), (12, 15)), **busy), **one(name, flat(0, 20), reason="connect")},
            {5: [], 9: [], 14: [TICKET]},
            {
                **PAGE,
                "summary": "The gateway of one tries no more calls again",
                "description": (
                    "60 calls failed in the last 5 minutes that would have been tried again, had the retry budget of "
                    "their model not been spent: a good part of all calls fails."
                ),
            },
        ),
        Case("fires for one of two replicas", {**one(name, rising(6, 20), **busy), **two(name, flat(9, 20), **busy)},
             {14: [TICKET]}),
        Case("not for a moment", one(name, phases((0, 5), (12, 0.25), (0, 15)), **busy), {6: [], 10: [], 12: []}),
        Case("not for old ones", one(name, without(flat(7, 20), 8, 9), **busy), {6: [], 10: [], 19: []}),
    ]  # fmt: skip
    check("RetryBudgetSpent", cases, tmp_path)


def test_queue_full(tmp_path: Path) -> None:
    """Whoever waits in vain counts, and who is refused as there is no queue doesn't."""
    name, limit = "invoker_limited_total", {"limit": "openai gpt-4o"}
    ticket = {**TICKET, **limit}
    cases = [
        Case(
            "fires",
            {
                **one(name, phases((0, 5), (12, 15)), **limit, reason="queue_full"),
                **one(name, phases((0, 5), (24, 15)), **limit, reason="queue_timeout"),
            },
            {5: [], 9: [], 14: [ticket]},
            {
                **PAGE,
                "summary": "Calls wait in vain for openai gpt-4o",
                "description": (
                    "180 calls were refused in the last 5 minutes, as the queue of openai gpt-4o was full or there was "
                    "no room in time."
                ),
            },
        ),
        Case("not for a limit without a queue", one(name, rising(60, 20), **limit, reason="limit"), {14: []}),
        Case("not for a moment", one(name, phases((0, 5), (60, 0.25), (0, 15)), **limit, reason="queue_full"),
             {6: [], 10: [], 12: []}),
    ]  # fmt: skip
    check("QueueFull", cases, tmp_path)


def test_fallback_serving(tmp_path: Path) -> None:
    """More than 10 % of the calls of a model, for 5 minutes, over all replicas."""

    def both(own: float, others: float, failures: float = 0.0) -> dict[str, Values]:
        return {**outcomes(rising(own, 30), rising(failures, 30)), **fallbacks(rising(others, 30))}

    cases = [
        Case(
            "fires",
            both(80, 20),
            {4: [], 12: [A]},
            {
                "summary": "Other models serve the calls of a",
                "description": (
                    "20.0 % of the calls that asked for a in the last 15 minutes were served by another model, in its "
                    "place; 10 % are allowed."
                ),
            },
        ),
        Case("all of them, of a model that has no calls of its own", fallbacks(rising(20, 30)), {4: [], 12: [A]}),
        Case("not at the edge", both(90, 10), {12: [], 29: []}),
        Case("just beyond it", both(89, 11), {12: [A]}),
        Case("failures of its own count", both(40, 9, failures=50), {29: []}),
        Case("not when it is over", {**outcomes(rising(80, 60), flat(0, 60)), **fallbacks(phases((20, 20), (0, 40)))},
             {18: [A], 45: []}),
        Case("no calls at all", {**outcomes(flat(80, 30), flat(0, 30)), **fallbacks(flat(20, 30))}, {29: []}),
    ]  # fmt: skip
    check("FallbackServing", cases, tmp_path)


def test_models_file_refused(tmp_path: Path) -> None:
    """For two minutes: whoever edits it sees at once that it is wrong."""
    name = "invoker_config_last_reload_successful"
    cases = [
        Case(
            "fires",
            one(name, [*flat(1, 5), *flat(0, 5)]),
            {5: [], 6: [], 8: [TICKET]},
            {
                **PAGE,
                "summary": "The gateway of one can't use its models file",
                "description": (
                    "The models file is not what the gateway of one goes by (its last reload was successful: 0): it "
                    "goes on with the file as it was before."
                ),
            },
        ),
        Case("not once it is mended", one(name, [*flat(0, 1.5), *flat(1, 5)]), {1: [], 4: []}),
        Case("not without a gateway", {}, {5: []}),
    ]
    check("ModelsFileRefused", cases, tmp_path)
