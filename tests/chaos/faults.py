"""What can go wrong, and a seed's sequence of it."""

import random
from dataclasses import dataclass

SIDECAR, GATEWAY, MODELS = "sidecar", "gateway", "models"

KINDS: dict[str, frozenset[str]] = {
    # kind → the parts that are not themselves until it is over; faults of other parts go on meanwhile
    "sidecar_killed": frozenset({SIDECAR}),
    "sidecar_restarted": frozenset({SIDECAR}),
    "sidecar_frozen": frozenset({SIDECAR}),
    "socket_removed": frozenset({SIDECAR, GATEWAY}),
    "sidecar_frozen_worker_killed": frozenset({SIDECAR, GATEWAY}),
    "data_disk_full": frozenset({SIDECAR}),
    "data_disk_full_sidecar_killed": frozenset({SIDECAR}),
    "data_disk_full_worker_killed": frozenset({SIDECAR, GATEWAY}),
    "worker_killed": frozenset({GATEWAY}),
    "workers_killed": frozenset({GATEWAY}),
    "worker_frozen": frozenset({GATEWAY}),
    "parent_killed": frozenset({GATEWAY}),
    "gateway_restarted": frozenset({GATEWAY}),
    "journal_disk_full": frozenset({SIDECAR, GATEWAY, MODELS}),
    "models_killed": frozenset({MODELS}),
    "all_killed": frozenset({SIDECAR, GATEWAY, MODELS}),
}
DISK_KINDS = frozenset(kind for kind in KINDS if "disk_full" in kind)


@dataclass(frozen=True)
class Fault:
    """One fault. `duration_s`: how long a part is away, frozen or full. `pause_s`: until the next fault,
    whether this one is over or not. `worse`: with a process killed into the bargain, where that has a meaning."""

    number: int
    kind: str
    worker: int
    duration_s: float
    pause_s: float
    worse: bool

    def __str__(self) -> str:
        worse = " worse" if self.worse else ""
        return f"{self.number:3d} {self.kind} worker={self.worker} {self.duration_s:.2f}s{worse}"


def draw(seed: int, count: int, workers: int, *, disks: bool) -> list[Fault]:
    """The sequence of a seed: each kind comes up equally often, in an order of its own each time."""
    rng = random.Random(seed)
    kinds = [kind for kind in KINDS if disks or kind not in DISK_KINDS]
    faults: list[Fault] = []
    while len(faults) < count:
        for kind in rng.sample(kinds, len(kinds)):
            fault = Fault(
                number=len(faults) + 1,
                kind=kind,
                worker=rng.randrange(workers),
                duration_s=rng.choice((0.0, rng.uniform(0.2, 1.0), rng.uniform(1.0, 3.0))),
                pause_s=rng.uniform(0.2, 1.5),
                worse=rng.random() < 0.5,
            )
            faults.append(fault)
    return faults[:count]
