"""The sidecar's own health, and what gateway workers report of theirs, in a registry of prometheus_client."""

import itertools
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    exposition,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.registry import Collector

from metrics_sidecar.history.backend import DiskUse
from metrics_sidecar.history.retention import Upkeep
from metrics_sidecar.intake.reported import ACCEPT_ERRORS, OVERHEAD, OVERHEAD_HELP, REPORTED_COUNTERS, REPORTED_GAUGES
from metrics_sidecar.ledger.labelled import FATES
from metrics_sidecar.ledger.times import REASONS
from shared import logs
from shared.wire import OVERHEAD_BOUNDS_S, SUM_US

COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

LAG_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)

DISK_GAUGES = (
    # in the order of `DiskUse`
    ("sidecar_history_bytes", "Size of the history and its log in bytes"),
    ("sidecar_disk_free_bytes", "Free space of the file system that the history is on, in bytes"),
    ("sidecar_disk_size_bytes", "Size of the file system that the history is on, in bytes"),
)

REJECTIONS = (
    "bad_frame",
    "bad_report",
    "hello_timeout",
    "no_memory",
    "producers",
    "slow_frame",
    "slow_reader",
    "version",
)
"""Exposed at 0 from the start: a series that first shows at 1 looks to Prometheus like no increase."""


class SidecarMetrics:
    """The registry and its instruments; whoever sees an event increments the instrument for it.

    What workers report is read at each scrape, summed: `gateway_counters` is name (`…_total`) → label
    value → count, `gateway_gauges` name → value. `before_collect` may set both, and gauges. `disk` is what was
    last seen of it.
    """

    def __init__(self) -> None:
        # `_created` series double what Prometheus stores and tell nothing here. (The client publishes no
        # types for this function and for OpenMetrics' generate_latest.)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.gateway_counters: Mapping[str, Mapping[str, int]] = {}
        self.gateway_gauges: Mapping[str, float] = {}
        self.disk: DiskUse | None = None
        self.upkeep = Upkeep(0, None, 0)
        self.accept_failures: Mapping[str, int] = {}
        self.clock_lead_us = 0
        self.clock_jumps: Mapping[str, int] = {}
        self.before_collect: Callable[[], None] = _nothing
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_GatewayCollector(self))
        registry.register(_DiskCollector(self))
        registry.register(_UpkeepCollector(self))
        registry.register(_AcceptingCollector(self))
        registry.register(_ClockCollector(self))
        self._make_record_instruments(registry)
        self._make_commit_instruments(registry)
        self._make_intake_instruments(registry)
        self.event_loop_lag = Histogram(
            "sidecar_event_loop_lag_seconds",
            "How late the event loop was for a timer in seconds",
            buckets=LAG_SECONDS,
            registry=registry,
        )

    def count_rejected(self, reason: str) -> None:
        """One connection of a producer was closed: `connections` when there were too many."""
        if reason == "connections":
            self.connections_refused.inc()
        else:
            self.frames_rejected.labels(reason).inc()

    def render(self, openmetrics: bool) -> bytes:
        """All families as text; as OpenMetrics it ends in `# EOF`, so that nothing may follow."""
        self.before_collect()
        if openmetrics:
            text: bytes = openmetrics_exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return text
        return exposition.generate_latest(self._registry)

    def _make_record_instruments(self, registry: CollectorRegistry) -> None:
        self.records_committed = Counter(
            "sidecar_records_committed_total", "Records committed to the ledger", registry=registry
        )
        self.records_duplicate = Counter(
            "sidecar_records_duplicate_total",
            "Records received again and not counted again",
            registry=registry,
        )
        self.records_missing = Counter(
            "sidecar_records_missing_total",
            "Records lost in holes of producers' sequences",
            registry=registry,
        )
        self.records_unread = Counter(
            "sidecar_records_unread_total",
            "Records that this release can't read: kept for one that can, or dropped for want of room",
            ["fate"],
            registry=registry,
        )
        for fate in FATES:
            self.records_unread.labels(fate)
        self.timestamps_clamped = Counter(
            "sidecar_timestamps_clamped_total",
            "Records that were given the time of their arrival as theirs can't be",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            self.timestamps_clamped.labels(reason)

    def _make_commit_instruments(self, registry: CollectorRegistry) -> None:
        self.commits = Counter("sidecar_commits_total", "Transactions committed to the ledger", registry=registry)
        self.commit_failures = Counter(
            "sidecar_commit_failures_total", "Transactions that failed, to be tried again", registry=registry
        )
        self.commit_seconds = Histogram(
            "sidecar_commit_seconds",
            "Duration of a commit in seconds",
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self.models_labelled = Gauge("sidecar_models_labelled", "Models with a label of their own", registry=registry)

    def _make_intake_instruments(self, registry: CollectorRegistry) -> None:
        self.producers_connected = Gauge(
            "sidecar_producers_connected", "Gateway workers connected to the socket", registry=registry
        )
        self.frames_rejected = Counter(
            "sidecar_frames_rejected_total",
            "Connections closed, and reports passed over, because of what the producer sent or did not send",
            ["reason"],
            registry=registry,
        )
        for reason in REJECTIONS:
            self.frames_rejected.labels(reason)
        self.connections_refused = Counter(
            "sidecar_connections_refused_total", "Connections refused at the socket", registry=registry
        )
        self.queue_records = Gauge(
            "sidecar_queue_records", "Records received and waiting for a commit", registry=registry
        )


class _GatewayCollector(Collector):
    """What workers report, by the names that are known."""

    def __init__(self, metrics: SidecarMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for name, (label, help_, values) in REPORTED_COUNTERS.items():
            counter = CounterMetricFamily(name, help_, labels=[label])
            reported = self._metrics.gateway_counters.get(f"{name}_total", {})
            for value, count in {**dict.fromkeys(values, 0), **reported}.items():
                counter.add_metric([value], count)
            yield counter
        yield _overhead(self._metrics.gateway_counters.get(OVERHEAD, {}))
        for name, gauge in REPORTED_GAUGES.items():
            # Without a report there is no sample: 0 would be a claim.
            yield GaugeMetricFamily(name, gauge.help, value=self._metrics.gateway_gauges.get(name))


class _DiskCollector(Collector):
    """What the last look at the disk has shown."""

    def __init__(self, metrics: SidecarMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        values = self._metrics.disk or (None,) * len(DISK_GAUGES)
        for (name, help_), value in zip(DISK_GAUGES, values, strict=True):
            yield GaugeMetricFamily(name, help_, value=value)


class _UpkeepCollector(Collector):
    """How far the removal of old rows, and the sums over time, have come."""

    def __init__(self, metrics: SidecarMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        removed_rows, oldest_us, waiting_rows, *_ = self._metrics.upkeep
        yield CounterMetricFamily(
            "sidecar_rows_removed", "Rows of the history that retention has removed", value=removed_rows
        )
        yield GaugeMetricFamily(
            "sidecar_oldest_row_timestamp_seconds",
            "When the oldest row of the history was accepted, in seconds since 1970",
            value=None if oldest_us is None else oldest_us / 1_000_000,
        )
        yield GaugeMetricFamily(
            "sidecar_rollup_waiting_rows",
            "Rows of the history that are not in the sums over time yet",
            value=waiting_rows,
        )


class _AcceptingCollector(Collector):
    """How often connections had to wait, by the error's name; and what was logged and nobody read."""

    def __init__(self, metrics: SidecarMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        help_ = "Times that connections to the sidecar had to wait because no file was free for them"
        counter = CounterMetricFamily("sidecar_accept_failures", help_, labels=["reason"])
        for reason, count in {**dict.fromkeys(ACCEPT_ERRORS, 0), **self._metrics.accept_failures}.items():
            counter.add_metric([reason], count)
        yield counter
        help_ = "Lines of the sidecar's log that were dropped because nobody read them"
        yield CounterMetricFamily("sidecar_log_lines_dropped", help_, value=logs.dropped())


class _ClockCollector(Collector):
    """How far the machine's clock can be believed."""

    def __init__(self, metrics: SidecarMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "sidecar_clock_lead_seconds",
            "How far the clock is ahead of the time that retention goes by in seconds",
            value=self._metrics.clock_lead_us / 1_000_000,
        )
        jumps = CounterMetricFamily(
            "sidecar_clock_jumps",
            "Times that the clock was found to have been set by over a minute",
            labels=["direction"],
        )
        for direction, count in self._metrics.clock_jumps.items():
            jumps.add_metric([direction], count)
        yield jumps


def _overhead(counts: Mapping[str, int]) -> HistogramMetricFamily:
    """The histogram of the counts per bucket that workers report."""
    bounds = (*(str(bound) for bound in OVERHEAD_BOUNDS_S), "+Inf")
    cumulated = itertools.accumulate(counts.get(bound, 0) for bound in bounds)
    buckets = [(bound, float(count)) for bound, count in zip(bounds, cumulated, strict=True)]
    return HistogramMetricFamily(OVERHEAD, OVERHEAD_HELP, buckets, counts.get(SUM_US, 0) / 1_000_000)


def _nothing() -> None:
    pass
