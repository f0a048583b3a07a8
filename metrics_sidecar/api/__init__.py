"""The sidecar's HTTP API: one file per endpoint, each decodes, asks, encodes. What the handlers need of
the rest of the process, they find under these keys."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from metrics_sidecar.disk import DiskUse
from metrics_sidecar.history.exports import Exporter
from metrics_sidecar.history.queries import Queries
from metrics_sidecar.history.reconcile import Reconciliation
from metrics_sidecar.metrics.exposition import Exposition
from metrics_sidecar.metrics.live import Snapshot
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from shared.clock import Clock

TakeSnapshot = Callable[[], Snapshot]
"""What is committed and reported at this moment."""

MeasureDisk = Callable[[], DiskUse | None]
"""Asks the file system, which may take its time."""

Reconcile = Callable[[], Awaitable[Reconciliation]]
"""Compares all books; raises `StoreError`."""


CLOCK: web.AppKey[Clock] = web.AppKey("clock")
QUERIES: web.AppKey[Queries] = web.AppKey("queries")
RECONCILE: web.AppKey[Reconcile] = web.AppKey("reconcile")
SNAPSHOT: web.AppKey[TakeSnapshot] = web.AppKey("snapshot")
DISK: web.AppKey[MeasureDisk] = web.AppKey("disk")
METRICS: web.AppKey[SidecarMetrics] = web.AppKey("metrics")
EXPOSITION: web.AppKey[Exposition] = web.AppKey("exposition")
EXPORTER: web.AppKey[Exporter] = web.AppKey("exporter")
