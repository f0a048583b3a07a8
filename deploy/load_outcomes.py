"""What callers saw, and whether the sidecar saw the same."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from deploy.load_answers import Seen

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Totals(NamedTuple):
    """Invocations of one model: all, and by their end."""

    total: int = 0
    successful: int = 0
    failed: int = 0

    def since(self, earlier: "Totals") -> "Totals":
        return Totals(*(now - then for now, then in zip(self, earlier, strict=True)))


@dataclass
class ModelTally:
    """One model's outcomes. `unknown`: sent, but no whole answer came back, so recorded or not."""

    sent: int = 0
    successful: int = 0
    failed: int = 0
    rejected: int = 0
    unknown: int = 0

    def agrees_with(self, seen: Totals) -> bool:
        """Whether the sidecar's totals are possible after what the callers saw."""
        return (
            seen.total == seen.successful + seen.failed
            and seen.successful >= self.successful
            and seen.failed >= self.failed
            and seen.total - self.successful - self.failed <= self.unknown
        )

    def expectation(self) -> str:
        """The totals that would agree, in words."""
        text = f"{self.successful} successful and {self.failed} failed"
        return f"{text}, and up to {self.unknown} more" if self.unknown else text


@dataclass
class Tally:
    """Everything that one run counts; latencies are in seconds, 8 bytes each."""

    models: dict[str, ModelTally]
    statuses: Counter[str] = field(default_factory=Counter)
    not_sent: int = 0
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From the moment the request was due: what a caller who arrived then would have waited."""
    service_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From the moment the request was sent."""
    lags_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From due to sent: the generator's own delay. Large ones mean that this machine is too slow."""
    first_outputs_s: "array[float]" = field(default_factory=lambda: array("d"))
    """Of streams, from the moment the request was due."""
    events: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @classmethod
    def of(cls, models: Iterable[str]) -> "Tally":
        return cls({model: ModelTally() for model in models})

    @property
    def totals(self) -> ModelTally:
        """The sum over all models."""
        tallies = self.models.values()
        return ModelTally(
            sent=sum(tally.sent for tally in tallies),
            successful=sum(tally.successful for tally in tallies),
            failed=sum(tally.failed for tally in tallies),
            rejected=sum(tally.rejected for tally in tallies),
            unknown=sum(tally.unknown for tally in tallies),
        )

    def ended(self, model: str, seen: Seen) -> None:
        """Count a call."""
        tally = self.models[model]
        self.statuses[seen.status] += 1
        setattr(tally, seen.verdict, getattr(tally, seen.verdict) + 1)
        self.events += seen.events
        self.input_tokens += seen.input_tokens or 0
        self.output_tokens += seen.output_tokens or 0


def differences(tally: Tally, before: Mapping[str, Totals], after: Mapping[str, Totals]) -> list[str]:
    """One sentence per model whose totals in the sidecar are not what the callers saw."""
    sentences = []
    for model, seen_by_callers in tally.models.items():
        recorded = after.get(model, Totals()).since(before.get(model, Totals()))
        if not seen_by_callers.agrees_with(recorded):
            sentences.append(
                f"{model}: callers saw {seen_by_callers.expectation()}; the sidecar has {recorded.total}:"
                f" {recorded.successful} successful and {recorded.failed} failed"
            )
    return sentences


def decode_stats(body: bytes) -> dict[str, Totals]:
    """Model → totals from the body of `GET /metrics/stats`; `msgspec.DecodeError` if it is another."""
    stats = _decode_stats.decode(body).stats
    return {
        model: Totals(of.total_invocations, of.successful_invocations, of.failed_invocations)
        for model, of in stats.items()
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * round(percent * 10) // 1000)  # rounded up, in integers
    return ordered[max(rank, 1) - 1]


def summary_ms(values_s: Iterable[float]) -> dict[str, float]:
    """Percentiles and the maximum, in milliseconds."""
    ordered = sorted(values_s)
    summary = {f"p{percent:g}": round(percentile(ordered, percent) * 1e3, 3) for percent in PERCENTILES}
    return {**summary, "max": round(ordered[-1] * 1e3, 3) if ordered else 0.0}


class _ModelStats(msgspec.Struct):
    total_invocations: int
    successful_invocations: int
    failed_invocations: int


class _Stats(msgspec.Struct):
    stats: dict[str, _ModelStats]


_decode_stats: msgspec.json.Decoder[_Stats] = msgspec.json.Decoder(_Stats)


def as_dict(tally: ModelTally) -> dict[str, Any]:
    """For the machine-readable result."""
    return {name: getattr(tally, name) for name in ("sent", "successful", "failed", "rejected", "unknown")}
