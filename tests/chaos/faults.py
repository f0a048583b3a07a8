"""What can go wrong, and a seed's sequence of it."""

import random
from collections.abc import Sequence
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
    "sidecar_clock_jumps": frozenset({SIDECAR}),
    "gateway_clock_jumps": frozenset({GATEWAY}),
    "all_clocks_jump": frozenset({SIDECAR, GATEWAY}),
    "all_killed": frozenset({SIDECAR, GATEWAY, MODELS}),
}
DISK_KINDS = frozenset(kind for kind in KINDS if "disk_full" in kind)
CLOCK_KINDS = frozenset(kind for kind in KINDS if "clock" in kind)

JUMPS = ("+2h", "+60d", "+1825d", "-60d", "@1960-01-01 00:00:00", "@2200-01-01 00:00:00")
"""Where clocks go. (A gateway's an hour or two behind would be plausible, and its rows soon too old to be kept.)"""


@dataclass(frozen=True)
class Fault:
    """One fault. `duration_s`: how long a part is away, frozen or full. `pause_s`: until the next fault,
    whether this one is over or not. `worse`: with a process killed into the bargain, where that has a meaning.
    `jump`: how a clock goes wrong."""

    number: int
    kind: str
    worker: int
    duration_s: float
    pause_s: float
    worse: bool
    jump: str

    def __str__(self) -> str:
        worse = " worse" if self.worse else ""
        jump = f" {self.jump}" if self.kind in CLOCK_KINDS else ""
        return f"{self.number:3d} {self.kind} worker={self.worker} {self.duration_s:.2f}s{worse}{jump}"


def possible_kinds(*, disks: bool, clocks: bool) -> list[str]:
    """Where disks can be filled, or clocks moved, or not."""
    left_out = (frozenset() if disks else DISK_KINDS) | (frozenset() if clocks else CLOCK_KINDS)
    return [kind for kind in KINDS if kind not in left_out]


def draw(seed: int, count: int, workers: int, kinds: Sequence[str]) -> list[Fault]:
    """The sequence of a seed: each kind comes up equally often, in an order of its own each time."""
    rng = random.Random(seed)
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
                jump=rng.choice(JUMPS),
            )
            faults.append(fault)
    return faults[:count]
