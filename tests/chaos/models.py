"""The models that callers ask for under chaos: quick, failing, slow, limited, timing out, given up on."""

import json
from dataclasses import dataclass

from deploy.mock.config import Behaviour


@dataclass(frozen=True)
class ChaosModel:
    """How a model behaves, how the gateway limits it, and how long its callers wait."""

    name: str
    weight: int
    latency: str
    failure_rate: float = 0.0
    timeout_s: float | None = None
    max_in_flight: int | None = None
    patience_s: float | None = None

    @property
    def behaviour(self) -> Behaviour:
        return Behaviour(self.latency, self.failure_rate)


MODELS = (
    *(ChaosModel(f"quick-{number}", 10, "fixed:1ms") for number in range(4)),
    ChaosModel("failing-0", 10, "uniform:1ms,30ms", failure_rate=0.4),
    ChaosModel("failing-1", 10, "uniform:1ms,200ms", failure_rate=0.2),
    ChaosModel("slow-0", 10, "lognormal:150ms,0.6"),
    ChaosModel("slow-1", 10, "lognormal:300ms,0.6"),
    ChaosModel("limited", 10, "fixed:100ms", max_in_flight=1),
    ChaosModel("late", 5, "uniform:1000ms,1400ms", timeout_s=1.2),
    ChaosModel("given-up", 5, "uniform:20ms,300ms", patience_s=0.1),
)
WIDE = ChaosModel("wide-" + "🦆" * 240, 1, "fixed:1ms", failure_rate=1.0)
"""A call of it takes 4 KiB of journal: it fills what is left of a full disk within seconds."""


def even_models(count: int) -> tuple[ChaosModel, ...]:
    """Equal models that answer after 5 ms: many of them, so that the sizes that tell calls apart stay small."""
    return tuple(ChaosModel(f"even-{number:03d}", 1, "fixed:5ms") for number in range(count))


def models_file(upstream: str) -> str:
    """The gateway's models file: those with a timeout or a limit of their own."""
    tables = []
    for model in MODELS:
        if model.timeout_s or model.max_in_flight:
            lines = [f"[{json.dumps(model.name)}]", f"upstream = {json.dumps(upstream)}"]
            lines += [f"timeout = {model.timeout_s}"] if model.timeout_s else []
            lines += [f"limits = {{ max_in_flight = {model.max_in_flight} }}"] if model.max_in_flight else []
            tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"
