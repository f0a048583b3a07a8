"""The sidecar's HTTP API: one file per endpoint, each decodes, asks, encodes. What the handlers need of
the rest of the process, they find under these keys."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from metrics_sidecar.exposition import Exposition
from metrics_sidecar.process_metrics import SidecarMetrics
from metrics_sidecar.queries import Queries
from metrics_sidecar.reconcile import Reconciliation
from metrics_sidecar.totals import ModelTotals

Snapshot = Callable[[], tuple[dict[str, ModelTotals], dict[str, int]]]
"""Label → totals and label → calls in flight, as committed and reported at this moment."""

Reasons = Callable[[], list[str]]
"""Why the sidecar is not ready, one sentence each; none when it is."""

Reconcile = Callable[[], Awaitable[Reconciliation]]
"""Compares all books; raises `StoreError`."""

QUERIES: web.AppKey[Queries] = web.AppKey("queries")
RECONCILE: web.AppKey[Reconcile] = web.AppKey("reconcile")
READINESS: web.AppKey[Reasons] = web.AppKey("readiness")
SNAPSHOT: web.AppKey[Snapshot] = web.AppKey("snapshot")
METRICS: web.AppKey[SidecarMetrics] = web.AppKey("metrics")
EXPOSITION: web.AppKey[Exposition] = web.AppKey("exposition")
