"""What the handlers need of the rest of the process, in one piece under one key."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from aiohttp import web

from metrics_sidecar.history.backend import DiskUse
from metrics_sidecar.history.reader import Reader
from metrics_sidecar.history.reconcile import Reconciliation
from metrics_sidecar.metrics.exposition import Exposition
from metrics_sidecar.metrics.family_samples import FamilySamples
from metrics_sidecar.metrics.live import Families, Snapshot
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from shared.clock import Clock


class Readiness(msgspec.Struct, frozen=True):
    """`not_ready`: no records are taken in, or none committed. `degraded`: they are, but the reasons need a look."""

    status: Literal["ready", "degraded", "not_ready"]
    reasons: list[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """`snapshot` and `families`: what is committed and reported at this moment. `measure_disk` asks the file system,
    which may take its time. `reconcile` compares all books; it raises `StoreError`."""

    clock: Clock
    reader: Reader
    reconcile: Callable[[], Awaitable[Reconciliation]]
    readiness: Callable[[], Readiness]
    snapshot: Callable[[], Snapshot]
    families: Callable[[], Families]
    measure_disk: Callable[[], DiskUse | None]
    metrics: SidecarMetrics
    exposition: Exposition = dataclasses.field(default_factory=Exposition)
    family_samples: FamilySamples = dataclasses.field(default_factory=FamilySamples)


SIDECAR = web.AppKey("sidecar", Sidecar)
