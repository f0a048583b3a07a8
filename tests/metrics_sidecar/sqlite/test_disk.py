"""What the sidecar tells of the disk under its history."""

import os
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse_text

from metrics_sidecar.history.backend import DiskUse
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from metrics_sidecar.sqlite.disk import measure_disk
from metrics_sidecar.sqlite.writer import SqliteWriter


def samples_of(metrics: SidecarMetrics) -> dict[str, float]:
    families = parse_text(metrics.render(openmetrics=False).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_log_belongs_to_the_history(tmp_path: Path) -> None:
    """Both files count; without a log, the history alone; without any, nothing is claimed."""
    path = tmp_path / "history.db"
    assert measure_disk(path) is None
    store = SqliteWriter(path)
    system = os.statvfs(tmp_path)
    sizes = [path.stat().st_size, path.with_name("history.db-wal").stat().st_size]
    use = measure_disk(path)
    assert use is not None
    assert use.history_bytes == sum(sizes) > sizes[0]
    assert use.size_bytes == system.f_blocks * system.f_frsize
    assert 0 < use.free_bytes <= use.size_bytes
    store.close()
    alone = measure_disk(path)
    assert alone is not None
    assert alone.history_bytes == path.stat().st_size


def test_without_a_look_there_is_no_sample() -> None:
    """0 would be a claim."""
    metrics = SidecarMetrics()
    assert "sidecar_history_bytes" not in samples_of(metrics)
    metrics.disk = DiskUse(1, 2, 3)
    samples = samples_of(metrics)
    names = ("sidecar_history_bytes", "sidecar_disk_free_bytes", "sidecar_disk_size_bytes")
    assert [samples[name] for name in names] == [1, 2, 3]
