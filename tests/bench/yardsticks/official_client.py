"""prometheus_client with the same families and models: what `generate_latest` takes for a scrape.
`python -m tests.bench.yardsticks.official_client MODELS SCRAPES` prints the median in ms of CPU."""

import sys
import time
from statistics import median

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S


def main(models: int, scrapes: int) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types
    registry = CollectorRegistry()
    invocations = Counter("model_invocations_total", "Invocations", ["model_id", "status"], registry=registry)
    errors = Counter("model_invocation_errors_total", "Failures", ["model_id", "error_type"], registry=registry)
    latency = Histogram(
        "model_invocation_latency_seconds", "Latency", ["model_id"], buckets=BUCKET_BOUNDS_S, registry=registry
    )
    active = Gauge("model_active_invocations", "In flight", ["model_id"], registry=registry)
    total = Gauge("model_total_invocations", "Invocations", ["model_id"], registry=registry)
    rate = Gauge("model_success_rate", "Success rate", ["model_id"], registry=registry)
    for number in range(models):
        name = f"model-{number:04}"
        invocations.labels(name, "success").inc(99)
        invocations.labels(name, "failure").inc()
        errors.labels(name, "timeout").inc()
        latency.labels(name).observe(0.15)
        active.labels(name).set(1)
        total.labels(name).set(100)
        rate.labels(name).set(99)
    times = []
    for _ in range(scrapes):
        started = time.process_time()
        generate_latest(registry)
        times.append(time.process_time() - started)
    print(median(times) * 1000)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
