"""Samples with places for their numbers, which `%` fills in: of one label's counters and histograms."""

from collections.abc import Sequence


def began_at(created_us: int | None) -> str:
    """When a label's counters were zero, as a sample has it; nothing where that isn't told."""
    return "" if created_us is None else " {}.{:06}\n".format(*divmod(created_us, 1_000_000))


def labels_of(model_id: str) -> str:
    """Its label, as part of a template."""
    return f'model_id="{escaped(model_id)}"'.replace("%", "%%")


def escaped(value: str) -> str:
    """A label's value, as both text formats want it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def counter(name: str, labels: str, began: str, value: str = "%d") -> str:
    """Its sample, and when it was zero, if that is told."""
    created = f"{name}_created{{{labels}}}{began}" if began else ""
    return f"{name}_total{{{labels}}} {value}\n{created}"


def histogram(name: str, labels: str, bounds_s: Sequence[float], began: str) -> bytes:
    """To be filled with cumulated counts, whole seconds and µs of the sum, and the count."""
    buckets = "".join(f'{name}_bucket{{{labels},le="{bound}"}} %d\n' for bound in (*map(str, bounds_s), "+Inf"))
    # An integer, a point and six digits: as a float a sum of microseconds would be rounded.
    rest = f"{name}_sum{{{labels}}} %d.%06d\n{name}_count{{{labels}}} %d\n"
    return (buckets + rest + (f"{name}_created{{{labels}}}{began}" if began else "")).encode()
